"use strict";

// @node-idempotency/core. Its middleware for Express and a storage on PostgreSQL are written by hand here, the
// middleware after the library's documentation, the storage as its interface `StorageAdapter` demands.

const { Idempotency } = require("@node-idempotency/core");

const TABLE = `
  CREATE TABLE node_idempotency (key text PRIMARY KEY, value text NOT NULL, expires_at timestamptz NOT NULL)`;

const SQL = {
  // One that has expired is as good as none.
  setIfNotExists: `
    INSERT INTO node_idempotency AS stored VALUES ($1, $2, now() + $3 * interval '1 millisecond')
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
    WHERE stored.expires_at <= now()`,
  set: `
    INSERT INTO node_idempotency VALUES ($1, $2, now() + $3 * interval '1 millisecond')
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at`,
  get: "SELECT value FROM node_idempotency WHERE key = $1 AND expires_at > now()",
};

const STATUS = { REQUEST_IN_PROGRESS: 409, IDEMPOTENCY_FINGERPRINT_MISSMATCH: 422 };

/** @param {import("pg").Pool} pool */
function middleware(pool) {
  const idempotency = new Idempotency(storageOn(pool));
  return async (req, res, next) => {
    const request = { method: req.method, path: req.url, headers: req.headers, body: req.body };
    let stored;
    try {
      stored = await idempotency.onRequest(request);
    } catch (error) {
      res.status(STATUS[error.code] ?? 500).send(error.message);
      return;
    }
    if (stored) {
      const { status, type } = stored.additional;
      res.status(status).type(type).set("Idempotent-Replayed", "true").send(stored.body);
      return;
    }
    keepWhatIsSent(idempotency, request, res);
    next();
  };
}

/** The answer does not wait until it is stored, as in the library's own middleware. */
function keepWhatIsSent(idempotency, request, res) {
  const send = res.send.bind(res);
  res.send = (body) => {
    // Express calls it again for a value that is sent as JSON.
    res.send = send;
    const additional = { status: res.statusCode, type: res.get("Content-Type") };
    idempotency.onResponse(request, { body, additional }).catch(console.error);
    return send(body);
  };
}

function storageOn(pool) {
  const run = (name, values) => pool.query({ name, text: SQL[name], values });
  return {
    async setIfNotExists(key, value, { ttl }) {
      const { rowCount } = await run("setIfNotExists", [key, value, ttl]);
      return rowCount === 1;
    },
    async set(key, value, { ttl }) {
      await run("set", [key, value, ttl]);
    },
    async get(key) {
      const { rows } = await run("get", [key]);
      return rows[0]?.value;
    },
  };
}

module.exports = { TABLE, middleware };
