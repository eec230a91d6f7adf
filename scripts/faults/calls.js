"use strict";

// Calls of each kind, and how long each may take.

const { PromiseBroken, hold, within } = require("./support");

/** What a busy machine adds to a call. */
const SLACK = 1_000;
/** How long a request waits for its release. */
const RELEASE = 500;

const work = (key) => (manager) =>
  manager.query("INSERT INTO effect (name) VALUES ($1)", [key]).then(() => ({
    response_code: 200,
    response_body: { key },
  }));

/** Each makes its call for a key. */
const CALLS = {
  create: (service, key) => service.create({ idempotency_key: key }),
  retrieve: (service, key) => service.retrieve(key),
  update: (service, key) => service.update(key, { response_code: 200 }),
  lock: (service, key) => service.lock(key),
  initializeRequest: (service, key) => service.initializeRequest(key, "POST", {}, "/"),
  runStages: (service, key) =>
    service.runStages({ key, method: "POST", path: "/" }, { started: work(key) }),
  workStage: (service, key) => service.workStage(key, work(key)),
};
/** These want a key that is there already. */
const OF_KEYS = ["retrieve", "update", "lock", "workStage"];

/**
 * How long each kind of call may take with these options, in milliseconds: a statement waits for a connection, which
 * may have to be opened, and for its answer. A stage waits for its turn first, and a server that does not work on its
 * callback's query is noticed after two looks; its request is released afterwards. `runStages` begins it before.
 */
function limitsOf({ connectTimeout, statementTimeout, acquireTimeout }) {
  const statement = acquireTimeout + statementTimeout + SLACK;
  const noticed = Math.max(statementTimeout, 4 * connectTimeout);
  const stage = 2 * acquireTimeout + noticed + 2 * RELEASE + SLACK;
  const limits = Object.fromEntries(Object.keys(CALLS).map((kind) => [kind, statement]));
  return { ...limits, workStage: stage, runStages: statement + stage };
}

/** Makes the keys that calls with this prefix want. */
function prepare(service, prefix) {
  return Promise.all(
    OF_KEYS.map((kind) => service.create({ idempotency_key: `${prefix}-${kind}` })),
  );
}

/**
 * Makes a call of each kind at once. Each has to end within its limit, with the right answer or an error with a code.
 *
 * @param {object} service
 * @param {string} prefix of the keys: what {@link prepare} got
 * @param {Record<string, number>} limits
 * @param {typeof CALLS} [calls]
 * @returns {Promise<Record<string, { milliseconds: number, error?: any }>>} by kind
 */
async function callAll(service, prefix, limits, calls = CALLS) {
  const outcomes = Object.entries(calls).map(async ([kind, call]) => {
    const key = `${prefix}-${kind}`;
    return [kind, await outcomeOf(() => call(service, key), { kind, key, limit: limits[kind] })];
  });
  return Object.fromEntries(await Promise.all(outcomes));
}

/** How one call ended, and after how many milliseconds. */
async function outcomeOf(call, { kind, key, limit }) {
  const begun = performance.now();
  const outcome = call().then(
    (answer) => ({ answer }),
    (error) => ({ error }),
  );
  const { answer, error } = await within(limit, outcome, kind);
  const milliseconds = performance.now() - begun;
  hold(!error || error.code, `${kind} failed without a code: ${error?.message}`);
  hold(error || answer.idempotency_key === key, `${kind} was answered with another key`);
  return { milliseconds, error };
}

/** All of the calls succeeded. */
function holdAnswered(outcomes) {
  for (const [kind, { error }] of Object.entries(outcomes)) {
    hold(!error, `${kind} failed: ${error?.code} ${error?.message}`);
  }
}

/** The calls were refused with one of these codes. */
function holdRefused(outcomes, codes) {
  for (const [kind, { error }] of Object.entries(outcomes)) {
    hold(codes.includes(error?.code), `${kind} was not refused as it has to be: ${error?.code}`);
  }
}

/** So many stages run at once: none of the connections is lost. */
async function holdSlots(service, count, limit = 10_000) {
  const keys = await Promise.all(Array.from({ length: count }, () => service.create({})));
  let meet;
  let running = 0;
  const met = new Promise((resolve) => (meet = resolve));
  const stages = keys.map((key) =>
    service.workStage(key, async (manager) => {
      await manager.query("SELECT 1");
      running += 1;
      if (running === count) {
        meet();
      }
      await met;
      return { recovery_point: "met" };
    }),
  );
  const failed = Promise.all(stages);
  try {
    await within(limit, Promise.race([met, failed]), `${count} stages at once`);
  } catch (error) {
    throw new PromiseBroken(`${count} stages do not run at once, but ${running}: ${error.message}`);
  } finally {
    meet();
    await Promise.allSettled(stages);
  }
}

module.exports = {
  CALLS,
  SLACK,
  callAll,
  holdAnswered,
  holdRefused,
  holdSlots,
  limitsOf,
  outcomeOf,
  prepare,
};
