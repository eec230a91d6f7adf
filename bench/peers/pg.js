"use strict";

// What one writes by hand with `pg`: a pool, and one parameterised statement for each operation.

const { randomUUID } = require("node:crypto");
const { Pool } = require("pg");

const SQL = {
  create: `
    INSERT INTO idempotency_key
      (id, idempotency_key, request_method, request_params, request_path)
    VALUES ($1, $2, $3, $4, $5)
    RETURNING *`,
  retrieve: "SELECT * FROM idempotency_key WHERE idempotency_key = $1",
  update: "UPDATE idempotency_key SET recovery_point = $2 WHERE idempotency_key = $1 RETURNING *",
  lock: `
    UPDATE idempotency_key SET locked_at = now()
    WHERE idempotency_key = $1
      AND (locked_at IS NULL OR locked_at <= now() - interval '1 second')
    RETURNING *`,
  initializeRequest: `
    WITH known AS (
      SELECT * FROM idempotency_key WHERE idempotency_key = $1
    ), created AS (
      INSERT INTO idempotency_key
        (id, idempotency_key, request_method, request_params, request_path)
      SELECT $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT FROM known)
      RETURNING *
    )
    SELECT * FROM known UNION ALL SELECT * FROM created`,
  lockRow: "SELECT * FROM idempotency_key WHERE idempotency_key = $1 FOR UPDATE",
};

const unnamed = (name, values) => ({ text: SQL[name], values });
const named = (name, values) => ({ name, text: SQL[name], values });

/**
 * Two peers on one pool: `pg` sends statements as `pool.query(text, values)` does, parsed and planned
 * anew every time; `prepared` sends those that each connection prepares once.
 *
 * @param {string} url
 * @param {{ connections: number }} settings
 */
function open(url, { connections }) {
  const pool = new Pool({ connectionString: url, max: connections });
  // end() does not wait until its connections are closed: their database may be gone before.
  pool.on("error", () => {});
  return {
    pg: { ...peerOn(pool, unnamed), close: () => pool.end() },
    prepared: peerOn(pool, named),
  };
}

function peerOn(pool, statement) {
  async function only(database, name, values) {
    const { rows } = await database.query(statement(name, values));
    if (rows.length !== 1) {
      throw new Error(`${name} found ${rows.length} keys`);
    }
    return rows[0];
  }

  return {
    create: (request) => only(pool, "create", newRow(request)),
    retrieve: (key) => only(pool, "retrieve", [key]),
    update: (key, { recovery_point }) => only(pool, "update", [key, recovery_point]),
    lock: (key) => only(pool, "lock", [key]),
    initializeRequest: (headerKey, request) =>
      only(pool, "initializeRequest", [headerKey, ...newRow(request)]),
    workStage: (key, callback) =>
      inTransaction(pool, async (client) => {
        await only(client, "lockRow", [key]);
        const { recovery_point } = await callback(client);
        return only(client, "update", [key, recovery_point]);
      }),
  };
}

function newRow({ request_method, request_params, request_path }) {
  return [
    `ikey_${randomUUID()}`,
    randomUUID(),
    request_method,
    JSON.stringify(request_params),
    request_path,
  ];
}

async function inTransaction(pool, work) {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const result = await work(client);
    await client.query("COMMIT");
    client.release();
    return result;
  } catch (error) {
    // Closing the connection rolls back.
    client.release(error);
    throw error;
  }
}

module.exports = { inTransaction, open };
