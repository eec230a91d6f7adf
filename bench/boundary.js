"use strict";

// The boundary itself: an asynchronous native call that does nothing. To close a native service that
// is closed already is one. It begins as every call does, on JavaScript's thread, and is answered as every
// call is; as it waits for nothing, the engine's thread has nothing to do with it.

const fs = require("node:fs");
const { promisify } = require("node:util");
const { Service } = require("../lib/bridge/binding");
const { ask } = require("../lib/bridge/calls");
const { connectionOf } = require("../lib/database/connections");
const { measure } = require("./measure");

/**
 * Rounds of the boundary, by turns with the shortest trip to Node's own threads and back: a call that
 * waits for the database pays for such a trip too, and what two threads take to wake each other is the
 * machine's, and differs much.
 *
 * @param {string} url might name a database, but none is needed
 * @returns {Promise<{ ours: Figures[], node: Figures[] }>}
 * @typedef {import("./measure").Figures} Figures
 */
async function measureBoundary(url, { rounds, seconds, warmUp }) {
  const service = new Service({
    ...connectionOf({ databaseUrl: url }),
    maxConnections: 1,
    maxRetries: 0,
    timeouts: { connect: 10_000, statement: 30_000, acquire: 30_000 },
  });
  const doNothing = () => ask((to) => service.close(...to));
  await doNothing();
  const access = promisify(fs.access);
  const calls = { ours: doNothing, node: () => access("/") };
  await oneRound(calls, warmUp);
  const figures = { ours: [], node: [] };
  for (let round = 0; round < rounds; round += 1) {
    const { ours, node } = await oneRound(calls, seconds);
    figures.ours.push(ours);
    figures.node.push(node);
  }
  return figures;
}

async function oneRound(calls, seconds) {
  const once = (call) => measure({ input: () => true, call, callers: 1, seconds });
  return { ours: await once(calls.ours), node: await once(calls.node) };
}

module.exports = { measureBoundary };
