"use strict";

const { IdempotencyKeyService } = require("../..");
const { useDatabase } = require("./database");
const { IdempotencyKey, MedusaService, typeorm } = require("./medusa-v1");

/** How long `lock()` holds in these tests: nothing depends on how fast the machine is. */
const LOCK_TIMEOUT = 60_000;

/**
 * What is compared, each on a database of its own: Medusa's service, this package's in the place that
 * Medusa gives it, and this package's without TypeORM; both of these in mode "medusa".
 *
 * @returns an object whose fields are there from `beforeAll` on: `medusa`, `onTypeOrm`, `native`,
 *   and `all`. A subject has
 *   `name`; `isMedusa`; `service`, the shared instance; `root`, TypeORM's root manager, if any;
 *   `transaction(isolation, work)`, which opens a transaction as callers of the service do;
 *   `database`
 */
function useSubjects() {
  const databases = { medusa: useDatabase(), onTypeOrm: useDatabase(), native: useDatabase() };
  const subjects = {};

  beforeAll(async () => {
    for (const database of Object.values(databases)) {
      await prepare(database);
    }
    subjects.medusa = await medusa(databases.medusa);
    subjects.onTypeOrm = await onTypeOrm(databases.onTypeOrm);
    subjects.native = native(databases.native);
    subjects.all = [subjects.medusa, subjects.onTypeOrm, subjects.native];
  });

  return subjects;
}

/** Before anything connects to it: a server need not be in UTC. */
async function prepare({ pool, url }) {
  const name = new URL(url).pathname.slice(1);
  await pool.query(`ALTER DATABASE ${name} SET timezone = 'America/New_York'`);
  await pool.query("CREATE TABLE effect (number serial PRIMARY KEY, name text)");
}

async function medusa(database) {
  const dataSource = await open(database);
  const service = new MedusaService({
    manager: dataSource.manager,
    idempotencyKeyRepository: dataSource.getRepository(IdempotencyKey),
  });
  return { name: "Medusa's", isMedusa: true, service, ...throughTypeOrm(dataSource), database };
}

async function onTypeOrm(database) {
  const dataSource = await open(database);
  const service = new IdempotencyKeyService(
    { manager: dataSource.manager },
    { mode: "medusa", lockTimeout: LOCK_TIMEOUT },
  );
  database.closed(service);
  return { name: "ours on TypeORM", service, ...throughTypeOrm(dataSource), database };
}

function native(database) {
  // Medusa's stages are not repeated: a stage of its own transaction is by default.
  const service = database.service({ mode: "medusa", lockTimeout: LOCK_TIMEOUT, maxRetries: 0 });
  const transaction = (isolation, work) => onceInPhase(service, isolation, work);
  return { name: "ours without TypeORM", service, transaction, database };
}

async function open(database) {
  const dataSource = new typeorm.DataSource({
    type: "postgres",
    url: database.url,
    entities: [IdempotencyKey],
    // A sequence that waits for itself would wait for ever.
    extra: { application_name: "typeorm", lock_timeout: 5_000 },
  });
  await dataSource.initialize();
  database.closed({ close: () => dataSource.destroy() });
  return dataSource;
}

function throughTypeOrm(dataSource) {
  return {
    root: dataSource.manager,
    transaction: (isolation, work) =>
      isolation ? dataSource.transaction(isolation, work) : dataSource.transaction(work),
  };
}

/** A phase with an isolation level is repeated, which a transaction of TypeORM's is not. */
async function onceInPhase(service, isolation, work) {
  let failure;
  const phase = service.atomicPhase_(async (manager) => {
    try {
      return await work(manager);
    } catch (error) {
      failure = { error };
      return Promise.reject(new Error("roll back"));
    }
  }, isolation);
  return phase.catch((error) => Promise.reject(failure ? failure.error : error));
}

/** Empties what the subjects have stored. */
function clear(subjects) {
  return Promise.all(
    subjects.all.map(({ database }) =>
      database.pool.query("DELETE FROM idempotency_key; DELETE FROM effect"),
    ),
  );
}

module.exports = { LOCK_TIMEOUT, clear, useSubjects };
