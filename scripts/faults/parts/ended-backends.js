"use strict";

// Connections that the server ends: in each phase of a stage on purpose, and at random under load.

const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const { Client } = require("pg");
const { IdempotencyKeyService } = require("../../..");
const { holdSlots } = require("../calls");
const { createEffects, holdOnce, startLoad } = require("../load");
const { eventually, hold, query, untilIdle, withServer, within } = require("../support");

/** Milliseconds within which each call has to end. */
const IN_TIME = 10_000;
const SLOTS = 4;
/** Of the service's connections; those of this file have no name. */
const APPLICATION = "medusa-idempotency-key";
const LOCK = "SELECT pg_advisory_lock(1)";

/**
 * A stage's phases, in their order. In some a session that has done `held` keeps the stage's backend waiting for
 * `event`, to which the callback contributes `sql`; in the others it is ended while it is in `state`, asked from `at`.
 */
const PHASES = [
  { phase: "before BEGIN", at: "begin", state: "idle" },
  {
    phase: "in the statement that locks the key",
    held: "LOCK TABLE idempotency_key IN EXCLUSIVE MODE",
    event: "relation",
  },
  { phase: "before the callback's query", at: "enter", state: "idle in transaction" },
  { phase: "in the callback's query", held: LOCK, event: "advisory", sql: LOCK },
  { phase: "after the callback's query", at: "leave", state: "idle in transaction" },
  {
    phase: "in the statement that stores the result",
    held: LOCK,
    event: "advisory",
    sql: "SET LOCAL faults.waits = 'idempotency_key'",
  },
  {
    phase: "in COMMIT, before it is done",
    held: LOCK,
    event: "advisory",
    sql: "SET LOCAL faults.waits = 'effect'",
    unprotected: true,
  },
  {
    phase: "in COMMIT, after it is done",
    event: "SyncRep",
    sql: "SET LOCAL synchronous_commit = on",
    unprotected: true,
  },
];

/** Nobody is the standby that a commit waits for, if it waits for one. */
const SETTINGS = { synchronous_standby_names: "nobody", synchronous_commit: "local" };

const TRIGGERS = `
  CREATE FUNCTION wait_if_told() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF current_setting('faults.waits', true) = TG_TABLE_NAME THEN
      PERFORM pg_advisory_lock(1);
    END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER waits BEFORE UPDATE ON idempotency_key
  FOR EACH ROW EXECUTE FUNCTION wait_if_told();
  CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON effect
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_if_told()`;

const name = "ended-backends";
const title = "Connections that are ended in each phase of a stage, and at random";

/**
 * @param {object} options
 * @param {boolean} options.full 50 rounds of the phases and 1,000 endings under load, in place of 2 and 30
 * @param {boolean} options.broken the work is done without idempotency keys
 */
function run({ full, broken, log }) {
  const form = full && !broken ? { rounds: 50, endings: 1_000 } : { rounds: 2, endings: 30 };
  return withServer({ settings: SETTINGS }, async ({ url }) => {
    await createEffects(url);
    const phases = await endInPhases(url, { ...form, broken, log });
    return { ...phases, ...(await endUnderLoad(url, form)) };
  });
}

async function endInPhases(url, { rounds, broken, log }) {
  const options = { databaseUrl: url, leaseTimeout: 1_000, maxConnections: SLOTS };
  const service = new IdempotencyKeyService({}, options);
  const acknowledged = [];
  try {
    await service.migrate();
    await query(url, TRIGGERS);
    for (const phase of PHASES.filter(({ unprotected }) => unprotected || !broken)) {
      const codes = new Set();
      for (let round = 0; round < rounds; round += 1) {
        const call = new Call(service, url, { phase, unprotected: broken });
        (await call.answered()).forEach((code) => codes.add(code));
        acknowledged.push(call.key);
      }
      log(`${phase.phase}: ${[...codes].join(", ") || "not noticed"}`);
    }
    await holdOnce(url, acknowledged);
    await holdSlots(service, SLOTS);
    await untilIdle(url);
  } finally {
    await service.close();
  }
  return { "ended in a phase": acknowledged.length };
}

/** A request whose stage's backend is ended in a phase of its first try. */
class Call {
  key = randomUUID();
  #service;
  #url;
  #unprotected;
  #phase;
  /** What the first try's callback does so that its backend waits. */
  #sql;
  /** Resolves when the backend was ended; each is ended once. */
  #ending;

  constructor(service, url, { phase, unprotected }) {
    this.#service = service;
    this.#url = url;
    this.#phase = phase;
    this.#sql = phase.sql;
    this.#unprotected = unprotected;
  }

  /** Repeats the request until it is answered, and resolves to the codes that it was refused with before. */
  async answered() {
    const codes = [];
    for (;;) {
      try {
        const { response_body: answer } = await this.#inTime(this.#try());
        await this.#ending;
        await this.#holdOneAnswer(answer);
        return codes;
      } catch (error) {
        if (typeof error.code !== "string") {
          throw error;
        }
        codes.push(error.code);
        await sleep(20);
      }
    }
  }

  #inTime(call) {
    return within(IN_TIME, call, `a call whose connection was ended ${this.#phase.phase}`);
  }

  async #holdOneAnswer({ order }) {
    if (!this.#unprotected) {
      const { response_body: again } = await this.#inTime(this.#try());
      hold(again.order === order, `${this.key} is answered with ${order} and with ${again.order}`);
    }
  }

  async #try() {
    const work = (manager) => this.#work(manager);
    if (this.#unprotected) {
      await this.#reached("begin");
      return this.#service.atomicPhase_(work);
    }
    let key = await this.#service.initializeRequest(this.key, "POST", {}, "/");
    await this.#reached("begin");
    while (key.recovery_point !== "finished") {
      key = await this.#service.workStage(key, work);
    }
    return key;
  }

  async #work(manager) {
    await this.#reached("enter");
    const sql = this.#sql;
    this.#sql = undefined;
    if (sql) {
      await manager.query(sql);
    }
    await manager.query("INSERT INTO effect VALUES ($1)", [this.key]);
    await this.#reached("leave");
    return { response_code: 201, response_body: { order: randomUUID() } };
  }

  /** Ends the backend if it is to be ended here; or prepares its end. */
  async #reached(place) {
    const { at = "begin", held, event, state } = this.#phase;
    if (this.#ending || place !== at) {
      return;
    }
    if (event) {
      const session = held && (await holding(this.#url, held));
      const ended = endBackends(this.#url, `wait_event = '${event}'`);
      this.#ending = ended.finally(() => session?.end());
      this.#ending.catch(() => {});
    } else {
      this.#ending = endBackends(this.#url, `state = '${state}'`);
      await this.#ending;
    }
  }
}

/** A session that holds what somebody else is to wait for. */
async function holding(url, sql) {
  const session = new Client({ connectionString: url });
  await session.connect();
  await session.query("BEGIN");
  await session.query(sql);
  return session;
}

/** Ends the backends of which a condition is true, as soon as there are any; resolves when they are gone. */
async function endBackends(url, condition) {
  const sql = `SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = '${APPLICATION}' AND ${condition}`;
  const ended = await eventually(async () => {
    const rows = await query(url, sql);
    return rows.length > 0 && rows;
  }, `there was no backend with ${condition}`).catch((error) => {
    // The fault did not happen: that is not the package's.
    throw new Error(error.message, { cause: error });
  });
  const left = "SELECT pid FROM pg_stat_activity WHERE pid = ANY ($1)";
  const pids = ended.map(({ pid }) => pid);
  await eventually(
    async () => (await query(url, left, [pids])).length === 0,
    "a backend does not end",
  );
}

/** Ends one connection after the other, whatever it does. */
async function endUnderLoad(url, { endings }) {
  const load = await startLoad(url);
  const states = {};
  const sql = `SELECT state, pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = '${APPLICATION}' AND state IS NOT NULL ORDER BY random() LIMIT 1`;
  for (let ended = 0; ended < endings;) {
    for (const { state } of await query(url, sql)) {
      states[state] = (states[state] ?? 0) + 1;
      ended += 1;
    }
    await load.answer(2);
  }
  await load.stop();
  const uncoded = [...load.codes].filter((code) => typeof code !== "string");
  hold(uncoded.length === 0, "a call was refused with an error without a code");
  hold(load.longest < IN_TIME, `a call took ${Math.round(load.longest)} ms`);
  await holdOnce(url, load.acknowledged);
  await untilIdle(url);
  return {
    "ended under load": Object.entries(states)
      .map(([state, count]) => `${count} ${state}`)
      .join(", "),
    "acknowledged under load": load.acknowledged.length,
    "refused under load": `${load.failures} (${[...load.codes].join(", ")})`,
    "longest call under load": `${Math.round(load.longest)} ms`,
  };
}

module.exports = { name, run, title };
