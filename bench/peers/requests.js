"use strict";

// Whole requests, whose work is one row in a table of the user's: with this package, with Medusa's service, by hand
// with `pg`, and the bare transaction without idempotency.

const { randomUUID } = require("node:crypto");
const { Pool } = require("pg");
const { IdempotencyKeyService } = require("../..");
const { ANSWER, REQUEST } = require("../keys");
const { MedusaService, cradleOf, openDataSource } = require("./medusa-v1");
const { inTransaction } = require("./pg");

const WORK = "INSERT INTO work (name) VALUES ($1)";
const PARAMS = JSON.stringify(REQUEST.request_params);
const BODY = JSON.stringify(ANSWER);

const SQL = {
  work: WORK,
  insert: `
    INSERT INTO idempotency_key
      (id, idempotency_key, request_method, request_params, request_path, locked_at)
    VALUES ($1, $2, $3, $4, $5, now()) ON CONFLICT (idempotency_key) DO NOTHING RETURNING *`,
  lock: "SELECT * FROM idempotency_key WHERE idempotency_key = $1 FOR UPDATE",
  advance: `
    UPDATE idempotency_key SET recovery_point = $2, locked_at = now()
    WHERE idempotency_key = $1 RETURNING *`,
  finish: `
    UPDATE idempotency_key
    SET recovery_point = 'finished', response_code = 200, response_body = $2, locked_at = NULL
    WHERE idempotency_key = $1 RETURNING *`,
  find: "SELECT * FROM idempotency_key WHERE idempotency_key = $1",
};

const FINISHED = { response_code: 200, response_body: ANSWER };

/**
 * The peers on one database, by groups that are compared with each other.
 *
 * @param {string} url
 * @param {{ connections: number }} settings of each peer
 */
async function open(url, { connections }) {
  const pool = new Pool({ connectionString: url, max: connections });
  pool.on("error", () => {});
  const dataSource = await openDataSource(url, { connections });
  const service = new IdempotencyKeyService(
    {},
    // One connection more is kept for single statements.
    { databaseUrl: url, maxConnections: connections - 1 },
  );
  const throughTypeOrm = new IdempotencyKeyService({ manager: dataSource.manager }, {});
  const medusa = medusaOn(dataSource);
  await pool.query("CREATE TABLE IF NOT EXISTS work (name text)");
  return {
    alone: { ours: oursWith(service), ...byHandOn(pool), medusa },
    typeOrm: { ours: oursWith(throughTypeOrm), medusa },
    async close() {
      await Promise.all([service.close(), throughTypeOrm.close(), pool.end()]);
      await dataSource.destroy();
    },
  };
}

function oursWith(service) {
  const request = (key) => ({
    key,
    method: REQUEST.request_method,
    params: REQUEST.request_params,
    path: REQUEST.request_path,
  });
  const work = (manager, { idempotency_key: key }) => manager.query(WORK, [key]);
  const finish = async (manager, key) => {
    await work(manager, key);
    return FINISHED;
  };
  const leadingTo = (point) => async (manager, key) => {
    await work(manager, key);
    return { recovery_point: point };
  };
  const three = { started: leadingTo("two"), two: leadingTo("three"), three: finish };
  return {
    request: (key) => service.runStages(request(key), { started: finish }),
    threeStages: (key) => service.runStages(request(key), three),
    replay: (key) => service.runStages(request(key), {}),
  };
}

function byHandOn(pool) {
  const run = (client, name, values) => client.query({ name, text: SQL[name], values });
  const newRow = (key) => [
    `ikey_${randomUUID()}`,
    key,
    REQUEST.request_method,
    PARAMS,
    REQUEST.request_path,
  ];
  const stage = async (client, key, change) => {
    await run(client, "lock", [key]);
    await run(client, "work", [key]);
    return change(client);
  };
  const finish = (key) => (client) => run(client, "finish", [key, BODY]);
  const advance = (key, point) => (client) => run(client, "advance", [key, point]);
  return {
    byHand: {
      async request(key) {
        await run(pool, "insert", newRow(key));
        return inTransaction(pool, (client) => stage(client, key, finish(key)));
      },
      async threeStages(key) {
        await run(pool, "insert", newRow(key));
        for (const change of [advance(key, "two"), advance(key, "three"), finish(key)]) {
          await inTransaction(pool, (client) => stage(client, key, change));
        }
      },
      replay: (key) => run(pool, "find", [key]),
    },
    oneTransaction: {
      knows: (operation) => operation === "request",
      request: (key) =>
        inTransaction(pool, async (client) => {
          await run(client, "insert", newRow(key));
          await run(client, "work", [key]);
          return run(client, "finish", [key, BODY]);
        }),
    },
    bare: {
      knows: (operation) => operation === "request",
      request: (key) => inTransaction(pool, (client) => run(client, "work", [key])),
    },
  };
}

/** As its routes do: a transaction begins the request, and another one works. */
function medusaOn(dataSource) {
  const { manager } = dataSource;
  const cradle = cradleOf(dataSource);
  const work = async (tx, key) => {
    await tx.query(WORK, [key]);
    return FINISHED;
  };
  return {
    knows: (operation) => operation === "request",
    async request(key) {
      const service = new MedusaService(cradle);
      const { request_method, request_params, request_path } = REQUEST;
      // It replaces a key that it does not know by one of its own.
      const { idempotency_key: own } = await manager.transaction((tx) =>
        service
          .withTransaction(tx)
          .initializeRequest(key, request_method, request_params, request_path),
      );
      return manager.transaction((tx) =>
        service.withTransaction(tx).workStage(own, (inner) => work(inner, own)),
      );
    },
  };
}

module.exports = { open };
