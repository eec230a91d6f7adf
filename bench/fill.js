"use strict";

// Tables full of keys, as a shop leaves them.

const { createHash } = require("node:crypto");
const { ANSWER, REQUEST } = require("./keys");
const { migrate, withClient } = require("./database");

const BATCH = 250_000;
/** Every so manyth request got stuck half-way. */
const OPEN_EVERY = 10;
/** SQLSTATE: not everybody may ask for a checkpoint. */
const INSUFFICIENT_PRIVILEGE = "42501";

/**
 * Ids rise with time, as ULIDs do, and keys are at any place of their index, as UUIDs are. Requests
 * and answers differ in their ids.
 */
const FILL = (schema) => `
  INSERT INTO ${schema}.idempotency_key
    (id, idempotency_key, created_at, request_method, request_params, request_path,
     response_code, response_body, recovery_point)
  SELECT 'ikey_01J' || ulid, md5(n::text)::uuid::text, now() - ($3::int - n) * interval '100 ms',
    $4, jsonb_build_object('id', 'cart_' || ulid), '/store/carts/cart_' || ulid || '/complete',
    CASE WHEN is_open THEN NULL ELSE 200 END,
    CASE WHEN is_open THEN NULL
         ELSE jsonb_set($5::jsonb, '{data,id}', to_jsonb('order_' || ulid)) END,
    CASE WHEN is_open THEN 'started' ELSE 'finished' END
  FROM generate_series($1::int, $2::int) AS n,
    LATERAL (SELECT lpad(upper(to_hex(n)), 23, '0') AS ulid, n % ${OPEN_EVERY} = 0 AS is_open) AS row`;

/**
 * Makes a schema with a table of so many keys.
 *
 * @param {string} url
 * @param {string} schema
 * @param {number} size
 * @param {(done: number) => void} progress
 */
async function fill(url, schema, size, progress) {
  await migrate(url, schema);
  await withClient(url, async (client) => {
    for (let first = 1; first <= size; first += BATCH) {
      const last = Math.min(size, first + BATCH - 1);
      const { request_method } = REQUEST;
      const values = [first, last, size, request_method, JSON.stringify(ANSWER)];
      await client.query(FILL(schema), values);
      progress(last);
    }
    await settle(client, schema);
  });
}

/** So that what the server puts off until later does not fall into the measured time. */
async function settle(client, schema) {
  await client.query(`VACUUM ANALYZE ${schema}.idempotency_key`);
  try {
    await client.query("CHECKPOINT");
  } catch (error) {
    if (error.code !== INSUFFICIENT_PRIVILEGE) {
      throw error;
    }
  }
}

/** The key of a row by its number. */
function keyOf(number) {
  const hash = createHash("md5").update(String(number)).digest("hex");
  return hash.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

module.exports = { OPEN_EVERY, fill, keyOf };
