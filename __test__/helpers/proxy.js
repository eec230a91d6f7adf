"use strict";

const net = require("node:net");

const STARTUP_HEADER = 4;
const MESSAGE_HEADER = 5;

/**
 * A TCP proxy in front of PostgreSQL that counts round trips and can cut, freeze or refuse connections.
 *
 * @param {string} url of the server
 * @param {object} [options]
 * @param {(to: net.Socket, data: Buffer, isAnswer: boolean) => void} [options.forward] writes what came, in its own way
 * @returns `url` through the proxy, `roundTrips()`, `cut()` all connections or some, `freeze()` all connections or `mute()` those that there
 *   are, `moveTo()` another server with new ones, `refuse()` new ones until `accept()`, `refusals()`, `close()`
 */
async function startProxy(url, { forward = (to, data) => to.write(data) } = {}) {
  let target = new URL(url);
  const sockets = new Set();
  let roundTrips = 0;
  let frozen = false;
  /** Sockets whose connections forward nothing any more. */
  const muted = new Set();
  let refusing = false;
  let refusals = 0;
  const server = net.createServer((client) => {
    if (refusing) {
      refusals += 1;
      client.resetAndDestroy();
      return;
    }
    const upstream = net.connect(Number(target.port), target.hostname);
    const count = messageReader((type) => {
      // A Sync or a simple Query is what the client waits for the answer of.
      roundTrips += type === "S" || type === "Q" ? 1 : 0;
    });
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ]) {
      sockets.add(from);
      from.on("data", (data) => {
        if (from === client) {
          count(data);
        }
        if (!frozen && !muted.has(from)) {
          forward(to, data, from === upstream);
        }
      });
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const through = new URL(url);
  through.port = server.address().port;
  return {
    url: through.href,
    roundTrips: () => roundTrips,
    cut: (isChosen = () => true) =>
      [...sockets].filter(isChosen).forEach((socket) => socket.resetAndDestroy()),
    moveTo: (other) => (target = new URL(other)),
    freeze: () => (frozen = true),
    mute: () => sockets.forEach((socket) => muted.add(socket)),
    refuse: () => (refusing = true),
    accept: () => (refusing = false),
    refusals: () => refusals,
    close: () => {
      sockets.forEach((socket) => socket.destroy());
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Splits what a client sends into messages and tells their types; the first ones have none. */
function messageReader(onMessage) {
  let buffered = Buffer.alloc(0);
  let started = false;
  return (data) => {
    buffered = Buffer.concat([buffered, data]);
    for (;;) {
      const header = started ? MESSAGE_HEADER : STARTUP_HEADER;
      if (buffered.length < header) {
        return;
      }
      const length = buffered.readInt32BE(header - STARTUP_HEADER) + header - STARTUP_HEADER;
      if (buffered.length < length) {
        return;
      }
      if (started) {
        onMessage(String.fromCharCode(buffered[0]));
      }
      // The request for TLS is eight bytes long; the startup message that follows it is longer.
      started ||= length > 8;
      buffered = buffered.subarray(length);
    }
  };
}

module.exports = { startProxy };
