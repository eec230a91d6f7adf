"use strict";

// What a pooler costs: the same service through PgBouncer in transaction mode, and connected to the server itself.

const { spawnSync } = require("node:child_process");
const { findPgBouncer, startPgBouncer } = require("../__test__/helpers/pgbouncer");
const { compareAll } = require("./compare");
const ours = require("./peers/ours");
const { progress } = require("./report");
const { resultOf } = require("./results");
const { poolerScenariosOn } = require("./scenarios");
const { CONNECTIONS, POOLER } = require("./settings");

/** Why there can be none here; nothing, if there can. */
function whyNoPooler({ isGiven = false, program = findPgBouncer() } = {}) {
  if (isGiven) {
    return "No pooler: PgBouncer is put before a server that the benchmark starts, not before that of DATABASE_URL.";
  }
  if (!program) {
    return "No pooler: PgBouncer is not installed (apt-get install pgbouncer).";
  }
  return undefined;
}

/** Its name and version, such as "PgBouncer 1.18.0"; nothing where it is not installed. */
function poolerVersion() {
  const program = findPgBouncer();
  return program && spawnSync(program, ["--version"], { encoding: "utf8" }).stdout.split("\n")[0];
}

/**
 * @param {import("./parts").Run} run
 * @param {import("./keys").Keys} keys
 * @returns {Promise<{ results: import("./results").Result[], notes: string[] }>}
 */
async function throughPooler({ server, url, pace }, keys) {
  const why = whyNoPooler(server);
  if (why) {
    return { results: [], notes: [why] };
  }
  const pooler = await startPgBouncer(url, POOLER);
  const peers = {};
  try {
    peers.ours = await ours.open(pooler.url, { connections: CONNECTIONS.ours });
    peers.direct = await ours.open(url, { connections: CONNECTIONS.ours });
    const compared = await compareAll(peers, poolerScenariosOn(keys), pace, progress);
    return { results: compared.map(resultOf), notes: [] };
  } finally {
    await Promise.all(Object.values(peers).map((peer) => peer.close()));
    await pooler.stop();
  }
}

module.exports = { poolerVersion, throughPooler, whyNoPooler };
