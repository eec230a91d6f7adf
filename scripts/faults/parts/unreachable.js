"use strict";

// A host that takes connections and never says a word, or does not even take them.

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const net = require("node:net");
const { Client } = require("pg");
const { IdempotencyKeyService } = require("../../..");
const { CALLS, holdRefused, outcomeOf } = require("../calls");
const { noticeAll, hold, within } = require("../support");

const CALLS_AT_ONCE = 200;
/** Milliseconds that an answer may come after `connectTimeout`: the machine may be busy. */
const SLACK = 1_000;
/** The host whose queue has room for one connection or two, and how many are sent there. */
const LISTEN = `
  const server = require("node:net").createServer();
  server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(server.address().port));
`;
const QUEUED = 16;

const name = "unreachable";
const title = "A host that does not answer";

async function run({ full, broken, log }) {
  if (broken) {
    await noticeAll(log, [["a client without limits", () => withHost(silent, unlimited)]]);
  }
  const figures = {};
  for (const connectTimeout of full ? [500, 2_000, 10_000] : [500]) {
    for (const [kind, host] of Object.entries({ silent, crowded })) {
      const latest = await withHost(host, (url) => refused(url, connectTimeout));
      log(`${kind} host, connectTimeout ${connectTimeout} ms: ${latest} ms`);
      figures[`${kind} host, connectTimeout ${connectTimeout} ms`] = `${latest} ms at most`;
    }
  }
  return figures;
}

/** Works with the URL of a host. */
async function withHost(host, work) {
  const { port, close } = await host();
  try {
    return await work(`postgres://postgres@127.0.0.1:${port}/postgres`);
  } finally {
    close();
  }
}

/** It takes connections, and never says a word. */
async function silent() {
  const sockets = new Set();
  const server = net.createServer((socket) => sockets.add(socket.on("error", () => {})));
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    port: server.address().port,
    close() {
      sockets.forEach((socket) => socket.destroy());
      server.close();
    },
  };
}

/** Its queue of connections is full, since its process stands still: a further one is not even opened. */
async function crowded() {
  const child = spawn(process.execPath, ["-e", LISTEN], { stdio: ["ignore", "pipe", "inherit"] });
  const [port] = await once(child.stdout.setEncoding("utf8"), "data");
  child.kill("SIGSTOP");
  const sockets = Array.from({ length: QUEUED }, () =>
    net.connect(Number(port), "127.0.0.1").on("error", () => {}),
  );
  await once(sockets[0], "connect");
  return {
    port: Number(port),
    close() {
      sockets.forEach((socket) => socket.destroy());
      child.kill("SIGKILL");
    },
  };
}

/** Calls of all kinds at once; each is refused in time after its own start. */
async function refused(databaseUrl, connectTimeout) {
  const service = new IdempotencyKeyService({}, { databaseUrl, connectTimeout });
  const limit = connectTimeout + SLACK;
  const kinds = Object.keys(CALLS);
  const outcomes = await Promise.all(
    Array.from({ length: CALLS_AT_ONCE }, (_, number) => {
      const kind = kinds[number % kinds.length];
      const key = `${kind}-${number}`;
      return outcomeOf(() => CALLS[kind](service, key), { kind, key, limit });
    }),
  );
  holdRefused(outcomes, ["ETIMEDOUT"]);
  await within(limit, service.close(), "close()");
  return Math.round(Math.max(...outcomes.map(({ milliseconds }) => milliseconds)));
}

/** The control: a client without limits is never answered. */
async function unlimited(connectionString) {
  const client = new Client({ connectionString });
  client.on("error", () => {});
  const call = () => client.connect();
  const outcome = await outcomeOf(call, { kind: "connect", key: "", limit: 500 + SLACK });
  hold(!outcome.error, "the host refused the connection");
}

module.exports = { name, run, title };
