"use strict";

// express-idempotency and its own middleware. The storage on PostgreSQL is written by hand, as its interface
// `IIdempotencyDataAdapter` demands.

const { getSharedIdempotencyService, idempotency } = require("express-idempotency");

const TABLE = "CREATE TABLE express_idempotency (key text PRIMARY KEY, resource json NOT NULL)";

const SQL = {
  find: "SELECT resource FROM express_idempotency WHERE key = $1",
  create: "INSERT INTO express_idempotency VALUES ($1, $2)",
  update: "UPDATE express_idempotency SET resource = $2 WHERE key = $1",
  delete: "DELETE FROM express_idempotency WHERE key = $1",
};

/** @param {import("pg").Pool} pool */
function middleware(pool) {
  return idempotency({ dataAdapter: storageOn(pool) });
}

function isHit(req) {
  return getSharedIdempotencyService().isHit(req);
}

function storageOn(pool) {
  const run = (name, values) => pool.query({ name, text: SQL[name], values });
  const written = (resource) => [resource.idempotencyKey, JSON.stringify(resource)];
  return {
    async findByIdempotencyKey(key) {
      const { rows } = await run("find", [key]);
      return rows[0]?.resource ?? null;
    },
    create: (resource) => run("create", written(resource)),
    update: (resource) => run("update", written(resource)),
    delete: (key) => run("delete", [key]),
  };
}

module.exports = { TABLE, isHit, middleware };
