"use strict";

// What is measured: an input, made outside of the measured time, and the call that takes it.

const { randomUUID } = require("node:crypto");
const { newRequest } = require("./keys");

/** More than any peer locks in a second. */
const LOCKS_PER_SECOND = 60_000;
/** More stages than that. */
const STAGES_PER_SECOND = 10_000;

let changes = 0;

/** Another one each time: an ORM writes nothing where nothing changes. */
function change() {
  changes += 1;
  return { recovery_point: `authorized-${changes}` };
}

/**
 * @typedef {object} Scenario
 * @property {string} name
 * @property {string} operation of the peers that have it
 * @property {number[]} callers so many at once, each number for itself
 * @property {"p50" | "throughput"} [compared] by default p50 of one caller, throughput of several
 * @property {Record<number, Record<string, number>>} [targets] by number of callers and peer: how
 *   many times the peer's p50 ours may be, or how many times its throughput ours has to be
 * @property {(peer: object) => unknown} input what one call takes; `undefined` ends the round
 * @property {(peer: object, input: unknown) => Promise<unknown>} call
 * @property {(seconds: number) => Promise<void>} [prepare] comes before a round of so many seconds
 */

/**
 * Calls of a service that stands by itself.
 *
 * @param {import("./keys").Keys} keys
 * @returns {Scenario[]}
 */
function scenariosOn(keys) {
  return [
    {
      ...creating,
      callers: [1, 64, 1024],
      targets: {
        1: { medusa: 0.4, pg: 1 },
        64: { medusa: 8, pg: 3, pgbench: 1.5 },
        1024: { medusa: 18, pg: 6, pgbench: 3 },
      },
    },
    {
      ...retrievingOf(keys),
      callers: [1, 64],
      targets: { 1: { pg: 1.3 }, 64: { medusa: 3, pg: 1.3 } },
    },
    {
      ...updatingOf(keys),
      callers: [1, 64],
      targets: { 1: { pg: 1.3 }, 64: { medusa: 10, pg: 2.5 } },
    },
    {
      name: "lock",
      operation: "lock",
      callers: [1, 64],
      targets: { 64: { pg: 2.5 } },
      prepare: (seconds) => keys.stock(Math.ceil(LOCKS_PER_SECOND * seconds)),
      input: () => keys.fresh(),
      call: (peer, key) => peer.lock(key),
    },
    { ...beginning, callers: [1, 64], targets: { 64: { medusa: 8, pg: 3 } } },
    {
      name: "initializeRequest, known",
      operation: "initializeRequest",
      callers: [1, 64],
      targets: { 64: { medusa: 6, pg: 1.3 } },
      input: () => keys.finished(),
      call: (peer, key) => peer.initializeRequest(key, newRequest()),
    },
    { ...stagingOf(keys), callers: [1, 64] },
  ];
}

const creating = {
  name: "create",
  operation: "create",
  input: newRequest,
  call: (peer, payload) => peer.create(payload),
};

const beginning = {
  name: "initializeRequest, new",
  operation: "initializeRequest",
  input: () => randomUUID(),
  call: (peer, key) => peer.initializeRequest(key, newRequest()),
};

const retrievingOf = (keys) => ({
  name: "retrieve",
  operation: "retrieve",
  input: () => keys.finished(),
  call: (peer, key) => peer.retrieve(key),
});

const stagingOf = (keys) => ({
  name: "workStage",
  operation: "workStage",
  prepare: (seconds) => keys.stock(Math.ceil(STAGES_PER_SECOND * seconds)),
  // Each request's first stage: a later one would be somebody else's, who has the lease.
  input: () => keys.fresh(),
  call: (peer, key) => peer.workStage(key, change),
});

const updatingOf = (keys) => ({
  name: "update",
  operation: "update",
  input: () => keys.open(),
  call: (peer, key) => peer.update(key, change()),
});

/** Stages in a transaction that the caller has opened through TypeORM. */
function boundStagesOn(keys) {
  return [
    {
      name: "bound stage",
      operation: "boundStage",
      callers: [1, 16, 64],
      compared: "throughput",
      targets: { 1: { medusa: 1.6 }, 16: { medusa: 1.6 }, 64: { medusa: 1.6 } },
      prepare: (seconds) => keys.stock(Math.ceil(STAGES_PER_SECOND * seconds)),
      input: () => keys.fresh(),
      call: (peer, key) => peer.boundStage(key, change),
    },
  ];
}

/** What commits, where the disk takes some milliseconds longer for each flush of the log. */
function slowDiskScenariosOn(keys) {
  return [creating, beginning, updatingOf(keys)].map((scenario) => ({
    ...scenario,
    name: `${scenario.operation}, slow disk`,
    callers: [64],
    targets: { 64: { medusa: 10 } },
  }));
}

/** The same service through a pooler, and without. */
function poolerScenariosOn(keys) {
  return [creating, retrievingOf(keys), updatingOf(keys), stagingOf(keys)].map((scenario) => ({
    ...scenario,
    name: `${scenario.operation}, PgBouncer`,
    callers: [64],
    targets: { 64: { direct: 0.6 } },
  }));
}

/** Whole requests, each of which is new, and replays. */
function requestsOn(keys) {
  return [
    {
      name: "a request of one stage",
      operation: "request",
      callers: [1, 64, 256],
      targets: {
        1: { byHand: 0.75, oneTransaction: 1, medusa: 0.33, bare: 1.75 },
        64: { byHand: 1.45, oneTransaction: 1.05, medusa: 4, bare: 0.5 },
        256: { byHand: 1.45, oneTransaction: 1.05, medusa: 4, bare: 0.5 },
      },
      input: () => randomUUID(),
      call: (peer, key) => peer.request(key),
    },
    {
      name: "a request of three stages",
      operation: "threeStages",
      callers: [1, 64, 256],
      targets: { 1: { byHand: 0.85 }, 64: { byHand: 1.25 }, 256: { byHand: 1.25 } },
      input: () => randomUUID(),
      call: (peer, key) => peer.threeStages(key),
    },
    {
      name: "a replay",
      operation: "replay",
      callers: [1, 64, 256],
      targets: { 1: { byHand: 1 }, 64: { byHand: 3 }, 256: { byHand: 3 } },
      input: () => keys.finished(),
      call: (peer, key) => peer.replay(key),
    },
  ];
}

/** The same requests through TypeORM's manager. */
function typeOrmRequestsOn(keys) {
  const [request] = requestsOn(keys);
  return [
    {
      ...request,
      name: "a request of one stage, TypeORM",
      targets: { 1: { medusa: 0.5 }, 64: { medusa: 2.2 }, 256: { medusa: 2.2 } },
    },
  ];
}

module.exports = {
  requestsOn,
  typeOrmRequestsOn,
  boundStagesOn,
  poolerScenariosOn,
  scenariosOn,
  slowDiskScenariosOn,
};
