"use strict";

// The parts of a run, one after the other: connections of one part are closed before the next.

const assert = require("node:assert");
const { boundaryChecks, ceilingCheck, constructionChecks, creatingChecks } = require("./checks");
const { compareAll } = require("./compare");
const { completionChecks } = require("./completions");
const { migrate, withClient } = require("./database");
const { Keys } = require("./keys");
const { duplicateChecks } = require("./duplicates");
const medusa = require("./peers/medusa");
const ours = require("./peers/ours");
const pg = require("./peers/pg");
const pgbench = require("./peers/pgbench");
const requests = require("./peers/requests");
const stages = require("./peers/stages");
const { throughPooler } = require("./pooler");
const { progress } = require("./report");
const { judged, resultOf } = require("./results");
const {
  boundStagesOn,
  requestsOn,
  scenariosOn,
  slowDiskScenariosOn,
  typeOrmRequestsOn,
} = require("./scenarios");
const { CONNECTIONS, SLOW_DISK } = require("./settings");
const { statementChecks } = require("./statements");
const { commitTime, startOnSlowDisk, whyNoSlowDisk } = require("./slow-disk");

const NOTHING = { requests: [], single: [], bound: [], pooled: [], checks: [], notes: [] };

/** Stages take long: only many rounds tell them apart. */
const BOUND_STAGE_ROUNDS = 2;

/**
 * @typedef {object} Pace
 * @property {number} rounds
 * @property {number} seconds of a peer's turn in a round
 * @property {number} warmUp seconds of a peer's turn before the first round
 * @property {number} creates of the process that only creates, at most
 * @property {number} budget seconds for everything
 * @property {{ pairs: number, waves: number }} completions
 *
 * @typedef {object} Run
 * @property {object} server where databases are made
 * @property {string} url of one with an empty table
 * @property {Pace} pace
 * @property {() => number} elapsed seconds of the budget
 */

/** @param {Run} run */
async function measureAll(run) {
  const construction = constructionChecks();
  const boundary = await boundaryChecks(run);
  const { single, bound, pooled, ...whole } = await withKeys(run.url, async (keys) => ({
    requests: await wholeRequests(run, keys),
    single: await singleStatements(run, keys),
    bound: await boundStages(run, keys),
    pooled: await throughPooler(run, keys),
  }));
  const ofRequests = await requestChecks(run);
  const slow = await slowDisk(run);
  const creating = await creatingChecks(run);
  const completions = await completionChecks(run.url, run.pace.completions);
  return {
    ...whole,
    single: [...single, ...slow.results],
    bound: bound.results,
    pooled: pooled.results,
    checks: [
      ...ofRequests,
      ...completions,
      ...creating,
      ...construction,
      ...boundary,
      ...bound.checks,
      ...slow.checks,
    ],
    notes: [...pooled.notes, ...slow.notes],
  };
}

/** Only whole requests. @param {Run} run */
async function measureRequests(run) {
  const requests = await withKeys(run.url, (keys) => wholeRequests(run, keys));
  return { ...NOTHING, requests, checks: await requestChecks(run) };
}

async function requestChecks({ url }) {
  return [...(await statementChecks(CONNECTIONS.requests)), ...(await duplicateChecks(url))];
}

async function wholeRequests({ url, pace }, keys) {
  const { alone, typeOrm, close } = await requests.open(url, { connections: CONNECTIONS.requests });
  try {
    const compared = [
      ...(await compareAll(alone, requestsOn(keys), pace, progress)),
      ...(await compareAll(typeOrm, typeOrmRequestsOn(keys), pace, progress)),
    ];
    return compared.map(resultOf);
  } finally {
    await close();
  }
}

/** Only completions in the real Medusa. @param {Run} run */
async function measureCompletions({ url, pace }) {
  return { ...NOTHING, checks: await completionChecks(url, pace.completions) };
}

/** Only what goes through a pooler. @param {Run} run */
async function measurePooler(run) {
  const { results, notes } = await withKeys(run.url, (keys) => throughPooler(run, keys));
  return { ...NOTHING, pooled: results, notes };
}

function withKeys(url, work) {
  return withClient(url, async (client) => {
    const keys = new Keys(client);
    await keys.seed();
    return work(keys);
  });
}

async function singleStatements({ url, pace }, keys) {
  const peers = await openPeers(url);
  if (pgbench.version()) {
    peers.pgbench = await pgbench.open(url);
  }
  return closing(peers, async () => {
    await requireSameAnswers(peers, keys);
    return (await compareAll(peers, scenariosOn(keys), pace, progress)).map(resultOf);
  });
}

async function openPeers(url) {
  return {
    ours: await ours.open(url, { connections: CONNECTIONS.ours }),
    medusa: await medusa.open(url, { connections: CONNECTIONS.medusa }),
    ...pg.open(url, { connections: CONNECTIONS.pg }),
  };
}

async function closing(peers, work) {
  try {
    return await work();
  } finally {
    await Promise.all(Object.values(peers).map((peer) => peer.close?.()));
  }
}

/** Peers are comparable only if they do the same. */
async function requireSameAnswers({ ours, medusa, pg, prepared }, keys) {
  const key = keys.finished();
  const answer = await ours.retrieve(key);
  assert.deepStrictEqual({ ...(await medusa.retrieve(key)) }, answer);
  for (const peer of [pg, prepared]) {
    // `SELECT *` has the optional columns, too.
    assert.deepStrictEqual(await peer.retrieve(key), {
      ...answer,
      request_fingerprint: null,
      response_headers: null,
    });
  }
}

async function boundStages({ url, pace }, keys) {
  const { peers, close } = await stages.open(url, { connections: CONNECTIONS.boundStages });
  const ofStages = { ...pace, rounds: BOUND_STAGE_ROUNDS * pace.rounds };
  try {
    const compared = await compareAll(peers, boundStagesOn(keys), ofStages, progress);
    return { results: compared.map(resultOf), checks: compared.map(ceilingCheck) };
  } finally {
    await close();
  }
}

/** On a server of its own. */
async function slowDisk({ server, pace }) {
  const why = whyNoSlowDisk(server);
  if (why) {
    return { results: [], checks: [], notes: [why] };
  }
  const slow = await startOnSlowDisk();
  try {
    return await onSlowDisk(slow.url, pace);
  } finally {
    await slow.stop();
  }
}

async function onSlowDisk(url, pace) {
  const committed = await commitTime(url);
  await migrate(url);
  return withKeys(url, async (keys) => {
    const peers = await openPeers(url);
    const compared = await closing(peers, () =>
      compareAll(peers, slowDiskScenariosOn(keys), pace, progress),
    );
    const name = "a commit of one row on the slow disk, p50";
    const check = { name, unit: "µs", ...judged(committed, { atLeast: SLOW_DISK.delay }) };
    return { results: compared.map(resultOf), checks: [check], notes: [] };
  });
}

module.exports = { measureAll, measureCompletions, measurePooler, measureRequests };
