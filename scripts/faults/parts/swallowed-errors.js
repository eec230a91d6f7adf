"use strict";

// Callbacks that swallow the error of a query: PostgreSQL has aborted their transaction then, and answers its COMMIT
// with success all the same.

const { setTimeout: sleep } = require("node:timers/promises");
const { Pool } = require("pg");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService } = require("../../..");
const { holdSlots } = require("../calls");
const { createEffects, holdOnce } = require("../load");
const { hold, query, untilIdle, withServer, within } = require("../support");

const CALLERS = 16;
const SLOTS = 4;
/** Milliseconds within which each call has to end. */
const IN_TIME = 10_000;
const ERRORS = [
  "SELECT 1 / 0",
  "INSERT INTO taken VALUES (1)",
  "SELECT * FROM nowhere",
  "SELEC 1",
  "DO $$ BEGIN RAISE EXCEPTION 'refused'; END $$",
];

const name = "swallowed-errors";
const title = "Callbacks that swallow the error that aborted their transaction";

/**
 * @param {object} options
 * @param {boolean} options.full 10,000 stages in place of 200
 * @param {boolean} options.broken the transactions are `pg`'s, without this package
 */
function run({ full, broken, log }) {
  const stages = full && !broken ? 10_000 : 200;
  return withServer({}, async ({ url }) => {
    await createEffects(url);
    await query(url, "CREATE TABLE taken (id int PRIMARY KEY)");
    await query(url, "INSERT INTO taken VALUES (1)");
    const opened = await (broken ? openPlain(url) : openServices(url));
    try {
      const codes = await runAll(opened.places, stages);
      log(`refused with ${[...codes].join(", ")}`);
      const keys = Array.from({ length: stages }, (_, number) => keyOf(number));
      await holdOnce(url, keys);
      for (const service of opened.services) {
        await holdSlots(service, SLOTS);
      }
      await untilIdle(url);
    } finally {
      await opened.close();
    }
    return { refused: stages, "kinds of transactions": Object.keys(opened.places).length };
  });
}

const keyOf = (number) => `stage-${number}`;

/** Runs so many stages, each of which has to be refused, and once more without a swallowed error. */
async function runAll(places, stages) {
  const codes = new Set();
  const kinds = Object.entries(places);
  let next = 0;
  const caller = async () => {
    while (next < stages) {
      const number = next;
      next += 1;
      const [kind, perform] = kinds[number % kinds.length];
      const key = keyOf(number);
      const inTime = (call) => within(IN_TIME, call, kind);
      codes.add(await inTime(refused(kind, perform(key, swallowing(key, number)))));
      await inTime(unlessInUse(() => perform(key, (manager) => effect(manager, key))));
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  return codes;
}

/** The code that a call is refused with. */
async function refused(kind, call) {
  const error = await call.then(
    () => hold(false, `${kind} was answered as done, though its transaction was aborted`),
    (reason) => reason,
  );
  hold(typeof error.code === "string", `${kind} was refused without a code: ${error}`);
  return error.code;
}

async function effect(manager, key) {
  await manager.query("INSERT INTO effect VALUES ($1)", [key]);
  return { response_code: 201, response_body: { key } };
}

/** Work that swallows an error: every other one does not wait for it. */
function swallowing(key, number) {
  return async (manager) => {
    const result = await effect(manager, key);
    const failing = manager.query(ERRORS[number % ERRORS.length]).catch(() => {});
    if (Math.floor(number / ERRORS.length) % 2 === 0) {
      await failing;
    }
    return result;
  };
}

/** A stage in its caller's transaction lets its request go a moment after that has ended. */
async function unlessInUse(call) {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (error.code !== "idempotency_key_in_use") {
        throw error;
      }
      await sleep(5);
    }
  }
}

/** The kinds of transactions that work runs in, each with how it is run for a key; and their services. */
async function openServices(url) {
  const dataSource = new DataSource({ type: "postgres", url, extra: { max: CALLERS } });
  await dataSource.initialize();
  const options = { databaseUrl: url, maxConnections: SLOTS };
  const own = new IdempotencyKeyService({}, options);
  const likeMedusas = new IdempotencyKeyService({}, { ...options, mode: "medusa" });
  const typeOrm = new IdempotencyKeyService({ manager: dataSource.manager }, {});
  const services = [own, likeMedusas, typeOrm];
  await own.migrate();
  const places = {
    "runStages()": (key, work) => own.runStages({ key }, { started: work }),
    "workStage()": (key, work) => stage(own, key, work),
    "a phase": (key, work) => own.atomicPhase_(work),
    "a stage in a phase": (key, work) =>
      own.atomicPhase_((manager) => stage(own.withTransaction(manager), key, work)),
    "a stage in a phase that swallows its error": (key, work) =>
      own.atomicPhase_((manager) =>
        stage(own.withTransaction(manager), key, work).catch(() => "swallowed again"),
      ),
    'a stage in mode "medusa"': (key, work) => medusasStage(likeMedusas, key, work),
    "a stage in a transaction of TypeORM's": (key, work) => stage(typeOrm, key, work),
    "a stage in a caller's transaction of TypeORM's": (key, work) =>
      dataSource.transaction((manager) => stage(typeOrm.withTransaction(manager), key, work)),
    "a phase in a transaction of TypeORM's": (key, work) => typeOrm.atomicPhase_(work),
  };
  const close = async () => {
    await Promise.all(services.map((service) => service.close()));
    await dataSource.destroy();
  };
  return { places, services, close };
}

async function stage(service, key, work) {
  return service.workStage(await service.initializeRequest(key, "POST", {}, "/"), work);
}

/** There a client's key is not adopted. */
async function medusasStage(service, key, work) {
  const known = await service.retrieve({ idempotency_key: key }).catch(() => undefined);
  await (known ?? service.create({ idempotency_key: key }));
  return service.workStage(key, work);
}

/** The control: transactions as they are written with `pg`. */
function openPlain(url) {
  const pool = new Pool({ connectionString: url, max: CALLERS });
  // A connection that is still being closed may see the server's end.
  pool.on("error", () => {});
  const transaction = async (key, work) => {
    const client = await pool.connect();
    try {
      await client.query("BEGIN");
      const result = await work(client);
      await client.query("COMMIT");
      return result;
    } finally {
      client.release();
    }
  };
  return {
    places: { "a transaction of pg's": transaction },
    services: [],
    close: () => pool.end(),
  };
}

module.exports = { name, run, title };
