"use strict";

// Requests by many callers, each of whom repeats its own until it is answered.

const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const { Pool } = require("pg");
const { IdempotencyKeyService } = require("../..");
const { hold, query } = require("./support");

const PATIENCE = 60_000;

/**
 * Starts callers on a database; the work of a request is a row in the table `effect`.
 *
 * @param {string} databaseUrl
 * @param {object} [options]
 * @param {number} [options.callers]
 * @param {boolean} [options.unprotected] do the work without idempotency keys: some is done twice then
 * @param {(key: string) => Promise<object>} [options.request] makes the request in another way
 * @param {boolean} [options.careless] take what has failed as done
 * @param {object} [options.service] options of the service's
 */
async function startLoad(databaseUrl, options = {}) {
  const { callers = 16, unprotected = false, careless = false, service = {} } = options;
  const keys = new IdempotencyKeyService({}, { databaseUrl, leaseTimeout: 1_000, ...service });
  await keys.migrate();
  const load = { acknowledged: [], failures: 0, codes: new Set(), longest: 0, service: keys };
  const work = (key) => (manager) =>
    manager.query("INSERT INTO effect (name) VALUES ($1)", [key]).then(() => ({
      response_code: 200,
      response_body: { key },
    }));
  const ofKey = (key) =>
    unprotected
      ? keys.atomicPhase_(work(key))
      : keys.runStages({ key, method: "POST", path: "/" }, { started: work(key) });
  const { request = ofKey } = options;
  let isOver = false;
  let lastError;
  const answered = async (key) => {
    for (;;) {
      const begun = performance.now();
      try {
        return await request(key);
      } catch (error) {
        load.failures += 1;
        load.codes.add(error.code ?? error.type ?? error.message);
        lastError = error;
        await sleep(20);
        if (careless) {
          return { response_body: { key } };
        }
      } finally {
        load.longest = Math.max(load.longest, performance.now() - begun);
      }
    }
  };
  const caller = async () => {
    while (!isOver) {
      const key = randomUUID();
      const { response_body: body } = await answered(key);
      hold(body.key === key, `${key} was answered with another request's answer`);
      load.acknowledged.push(key);
    }
  };
  const running = Promise.all(Array.from({ length: callers }, caller));
  // Whoever stops the load learns of it.
  running.catch(() => {});
  /** Waits until so many requests more have been answered, and tells how many milliseconds that took. */
  load.answer = async (count) => {
    const begun = performance.now();
    const goal = load.acknowledged.length + count;
    for (; load.acknowledged.length < goal; await sleep(2)) {
      const isPatient = performance.now() - begun < PATIENCE;
      hold(isPatient, `${count} requests were not answered; the last failure: ${lastError}`);
    }
    return performance.now() - begun;
  };
  load.stop = async () => {
    isOver = true;
    try {
      await running;
    } finally {
      await keys.close();
    }
  };
  return load;
}

/** Starts callers for the controls: their work has no idempotency key, and they repeat it when its answer is late. */
async function startImpatient(connectionString, callers) {
  const limits = { connectionTimeoutMillis: 200, query_timeout: 200 };
  const pool = new Pool({ connectionString, max: callers, ...limits });
  pool.on("error", () => {});
  const insert = (key) =>
    pool
      .query("INSERT INTO effect (name) VALUES ($1)", [key])
      .then(() => ({ response_body: { key } }));
  const load = await startLoad(connectionString, { callers, request: insert });
  const { stop } = load;
  load.stop = () => stop().finally(() => pool.end());
  return load;
}

/** Makes the table that the work of a load goes into. */
function createEffects(url) {
  return query(url, "CREATE TABLE effect (name text NOT NULL)");
}

/** How many of the acknowledged requests have left no effect, and how many effects are there twice. */
async function faultsOf(url, acknowledged) {
  const effects = await query(url, "SELECT name, count(*)::int AS count FROM effect GROUP BY name");
  const counts = new Map(effects.map(({ name, count }) => [name, count]));
  return {
    lost: acknowledged.filter((key) => !counts.has(key)).length,
    twice: effects.filter(({ count }) => count > 1).length,
  };
}

/** Everything that was acknowledged is there, and nothing is there twice. */
async function holdOnce(url, acknowledged) {
  const { lost, twice } = await faultsOf(url, acknowledged);
  hold(
    lost + twice === 0,
    `of ${acknowledged.length} acknowledged requests ${lost} are lost and ${twice} were done twice`,
  );
}

module.exports = { createEffects, holdOnce, startImpatient, startLoad };
