"use strict";

// How many statements of the server's a request is, as pg_stat_statements counts them: on a server of its own.

const { randomUUID } = require("node:crypto");
const { startPostgres } = require("../scripts/postgres");
const { migrate, withClient } = require("./database");
const requests = require("./peers/requests");
const { judged } = require("./results");

const REQUESTS = 100;
/** Each connection prepares what it needs with its first ones. */
const WARM_UP = 50;

/** @param {number} connections of each peer */
async function statementChecks(connections) {
  const server = await startPostgres({
    settings: { shared_preload_libraries: "pg_stat_statements" },
  });
  try {
    return await withClient(server.url, async (client) => {
      await client.query("CREATE EXTENSION pg_stat_statements");
      await migrate(server.url);
      const { alone, close } = await requests.open(server.url, { connections });
      try {
        return await checksOf(alone, client);
      } finally {
        await close();
      }
    });
  } finally {
    await server.stop();
  }
}

async function checksOf(peers, client) {
  const checks = [];
  for (const [name, peer] of Object.entries(peers)) {
    const statements = await statementsOf(peer, client);
    checks.push({
      name: `statements of the server for a request of one stage: ${name}`,
      unit: "",
      ...judged(statements, {}),
    });
  }
  return checks;
}

async function statementsOf(peer, client) {
  await make(peer, WARM_UP);
  await client.query("SELECT pg_stat_statements_reset()");
  await make(peer, REQUESTS);
  const { rows } = await client.query(
    "SELECT sum(calls)::int AS calls FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'",
  );
  return rows[0].calls / REQUESTS;
}

async function make(peer, count) {
  for (let number = 0; number < count; number += 1) {
    await peer.request(randomUUID());
  }
}

module.exports = { statementChecks };
