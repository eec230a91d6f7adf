"use strict";

const { performance } = require("node:perf_hooks");
const { setTimeout: sleep } = require("node:timers/promises");
const { errorFrom, unwrap } = require("../errors/errors");
const { withStatusOfDriver } = require("../errors/http-errors");
const { sqlStateOf } = require("../errors/sql-state");
const { Work } = require("../places/work");
const { keyFrom } = require("../values/keys");
const { newLease } = require("./attempt-leases");
const { FINISHED_ALREADY } = require("./leases");
const { currentRequest } = require("./request-context");
const { stageResultOf } = require("./stage-results");

// A request that begins with its first stage: one transaction inserts its key and does the stage's work, so nobody
// sees the request before that is committed, and nothing is left if it fails.

/** Milliseconds after which a request that waits looks again whether the one in progress has ended. */
const SHORTEST_PAUSE = 10;
const LONGEST_PAUSE = 200;

const IN_USE = "idempotency_key_in_use";
/** SQLSTATE: another transaction has locked what a statement needs. */
const LOCK_NOT_AVAILABLE = "55P03";
/** The SQLSTATEs of a row that the table refuses. */
const REFUSES_A_ROW = /^(2[123]|44|P0)/;

/**
 * Whether a key has been found lately when it was looked for, from 0 to 1. Most requests are new, and need no look
 * before their insert; retries come in bursts, and are found by a look for less than by an insert that fails.
 */
let found = 0;
const NEWS = 0.1;
const WORTH_A_LOOK = 0.2;

/** The requests that this process is about to begin, by table and key: their duplicates need no connection. */
const beginning = new Set();

/**
 * @typedef {(key: object, lease: import("./leases").Lease) => (manager: object) => unknown} FirstStage makes the
 *   work of a request's first stage, for the key that its transaction has inserted
 * @typedef {{ key: object, lease: import("./leases").Lease }} Begun the key of a request, and the lease of its attempt
 */

/**
 * Finds the request of a key, takes it over, or begins it with its first stage. Waits for one in progress as the
 * option `waitTimeout` says, without a connection.
 *
 * @param {import("../places/context").Context} context
 * @param {{ key?: string, request: object }} asked
 * @param {FirstStage} firstStage
 * @param {(wait: number) => Promise<Begun>} alone begins the request alone: what another transaction has locked is
 *   waited for without a connection there. `wait`: milliseconds for one in progress
 * @returns {Promise<Begun>}
 */
async function beginWithStage(context, asked, firstStage, alone) {
  const until = performance.now() + context.settings.waitTimeout;
  for (let pause = SHORTEST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    const { begun, refusal } = await begunOrFound(context, asked, firstStage);
    if (begun) {
      return begun;
    }
    const left = Math.max(0, until - performance.now());
    if (!refusal) {
      return alone(Math.ceil(left));
    }
    if (left === 0) {
      throw refusal;
    }
    await sleep(Math.min(pause, left));
  }
}

/** The request as it was begun or found, or why it is refused; neither, if it is to be begun alone. */
async function begunOrFound(context, asked, firstStage) {
  const seen = found > WORTH_A_LOOK ? await look(context, asked) : undefined;
  if (seen) {
    note(1);
    return seen;
  }
  const { begun, error } = await insertAlone(context, asked, firstStage);
  if (begun) {
    note(0);
    return { begun };
  }
  if (sqlStateOf(error) === LOCK_NOT_AVAILABLE) {
    return {};
  }
  if (error.code !== IN_USE && !REFUSES_A_ROW.test(sqlStateOf(error))) {
    throw error;
  }
  // There is such a key, or somebody is about to begin with it; or new ones are refused.
  const known = await look(context, asked);
  if (known) {
    note(1);
    return known;
  }
  return refusedBy(error);
}

function note(isKnown) {
  found += NEWS * (isKnown - found);
}

/**
 * What there is of a request, as begunOrFound() answers it; undefined if there is nothing. One that nobody works on any
 * more is taken over: also where the table refuses new rows.
 */
async function look(context, { key, request }) {
  if (key === undefined) {
    return undefined;
  }
  const answer = await context.place.run({ look: [key, request, context.settings.leaseTimeout] });
  if (answer.outcome === "abandoned") {
    return takeOver(context, { key, request });
  }
  return foundIn(answer, (stored) => replayed(context, stored));
}

async function takeOver(context, { key, request }) {
  const lease = newLease(context);
  const answer = await lease.use((native) =>
    context.place.run({ takeOver: [key, request] }, native),
  );
  return foundIn(answer, (stored) => ({ key: lease.keep(stored, answer.outcome), lease }));
}

function foundIn(answer, begun) {
  if (answer.failure?.kind === "not_found") {
    return undefined;
  }
  try {
    return { begun: begun(keyFrom(unwrap(answer))) };
  } catch (error) {
    return refusedBy(error);
  }
}

/** A finished request: that it was, the current request remembers. */
function replayed(context, key) {
  if (!currentRequest()) {
    return { key, lease: FINISHED_ALREADY };
  }
  const lease = newLease(context);
  return { key: lease.keep(key, "replayed"), lease };
}

/** Only one of a process tries at a time: whoever finds another one at it has only to wait for its end. */
async function insertAlone(context, asked, firstStage) {
  const { key } = asked;
  if (key === undefined) {
    return insert(context, asked, firstStage);
  }
  const name = JSON.stringify([context.database().table, key]);
  if (beginning.has(name)) {
    return { error: errorFrom({ kind: "in_use", key }) };
  }
  beginning.add(name);
  try {
    return await insert(context, asked, firstStage);
  } finally {
    beginning.delete(name);
  }
}

async function insert(context, asked, firstStage) {
  const lease = newLease(context);
  const work = new Work(async (manager, row) => {
    const key = lease.keep(keyFrom(row), "begun");
    return stageResultOf(await firstStage(key, lease)(manager));
  });
  try {
    const key = lease.keep(await context.place.firstStage(asked, lease, work), "begun");
    return { begun: { key, lease } };
  } catch (error) {
    if (!work.started) {
      return { error: withStatusOfDriver(error) };
    }
    await lease.release();
    throw work.failedWith(error) ? error : withStatusOfDriver(error);
  }
}

/** What to tell a request that is in progress, if it does not come to an end. Other errors are thrown. */
function refusedBy(error) {
  if (error?.code !== IN_USE) {
    throw error;
  }
  return { refusal: error };
}

module.exports = { beginWithStage };
