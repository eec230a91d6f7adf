"use strict";

const { performance } = require("node:perf_hooks");
const { setTimeout: sleep } = require("node:timers/promises");
const { errorFrom, unwrap } = require("../errors/errors");
const { withStatusOfDriver } = require("../errors/http-errors");
const { sqlStateOf } = require("../errors/sql-state");
const { Work } = require("../places/work");
const { keyFrom } = require("../values/keys");
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
 */

/**
 * Finds the request of a key, takes it over, or begins it with its first stage. Waits for one in progress as the
 * option `waitTimeout` says, without a connection.
 *
 * @param {import("../places/context").Context} context
 * @param {import("./leases").Lease} lease of the attempt
 * @param {{ key?: string, request: object }} asked
 * @param {FirstStage} firstStage
 * @param {() => Promise<object>} alone begins the request alone: what another transaction has locked is waited for
 *   without a connection there
 */
async function beginWithStage(context, lease, asked, firstStage, alone) {
  const until = performance.now() + context.settings.waitTimeout;
  for (let pause = SHORTEST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    const { key, refusal, isLocked } = await begunOrFound(context, lease, asked, firstStage);
    if (key) {
      return key;
    }
    if (isLocked) {
      return alone();
    }
    const left = until - performance.now();
    if (left <= 0) {
      throw refusal;
    }
    await sleep(Math.min(pause, left));
  }
}

/** The key of the request, or why there is none yet. */
async function begunOrFound(context, lease, asked, firstStage) {
  const seen = found > WORTH_A_LOOK ? await look(context, lease, asked) : {};
  if (seen.key || seen.refusal) {
    note(1);
    return seen;
  }
  const begun = await insertAlone(context, lease, asked, firstStage);
  if (begun.key) {
    note(0);
    return begun;
  }
  const { error } = begun;
  if (sqlStateOf(error) === LOCK_NOT_AVAILABLE) {
    return { isLocked: true };
  }
  if (error.code !== IN_USE && !REFUSES_A_ROW.test(sqlStateOf(error))) {
    throw error;
  }
  // There is such a key, or somebody is about to begin with it; or new ones are refused.
  const known = await look(context, lease, asked);
  if (known.key || known.refusal) {
    note(1);
    return known;
  }
  return refusedBy(error);
}

function note(isKnown) {
  found += NEWS * (isKnown - found);
}

/** What there is of a request: its key, if it is finished or can be gone on with; a refusal, if it is in progress. */
async function look({ place }, lease, { key, request }) {
  if (key === undefined) {
    return {};
  }
  return lease.use(async (native) => {
    const answer = await place.run({ look: [key, request, false] }, native);
    if (answer.failure?.kind === "not_found") {
      return {};
    }
    try {
      return { key: lease.keep(keyFrom(unwrap(answer)), answer.outcome) };
    } catch (error) {
      return refusedBy(error);
    }
  });
}

/** Only one of a process tries at a time: whoever finds another one at it has only to wait for its end. */
async function insertAlone(context, lease, asked, firstStage) {
  const { key } = asked;
  if (key === undefined) {
    return insert(context, lease, asked, firstStage);
  }
  const name = JSON.stringify([context.database().table, key]);
  if (beginning.has(name)) {
    return { error: errorFrom({ kind: "in_use", key }) };
  }
  beginning.add(name);
  try {
    return await insert(context, lease, asked, firstStage);
  } finally {
    beginning.delete(name);
  }
}

async function insert({ place }, lease, asked, firstStage) {
  const work = new Work(async (manager, row) => {
    const key = lease.keep(keyFrom(row), "begun");
    return stageResultOf(await firstStage(key, lease)(manager));
  });
  try {
    return { key: lease.keep(await place.firstStage(asked, lease, work), "begun") };
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
