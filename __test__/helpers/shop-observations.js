"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

const COLUMNS = [
  "idempotency_key",
  "request_method",
  "request_params",
  "request_path",
  "response_code",
  "response_body",
  "recovery_point",
  "id",
  "created_at",
  "locked_at",
];
/** What a client sees of the key, besides status and body. */
const HEADERS = ["content-type", "idempotency-key", "access-control-expose-headers"];
/** Events wait there until a loop of Medusa's takes them away, a moment later. */
const TRANSIENT_TABLES = ["staged_job"];

const SETTLE_TIMEOUT = 30_000;

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const ULID = "[a-z]+_[0-9A-HJKMNP-TV-Z]{26}";
const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)/g;
const IDENTIFIER = new RegExp(`${UUID}|${ULID}`, "g");

/**
 * Plays a scenario in a shop.
 *
 * @param shop one of `useShops`
 * @param {(shop: any) => Promise<any[]>} scenario resolves to the answers that it got
 * @returns what it got and left: the `answers`, the `keys` there are now in the order in which they
 *   were made, and how many rows each table has gained
 */
async function observe(shop, scenario) {
  await shop.pool.query("DELETE FROM idempotency_key");
  // It is in the answers, and a test that failed must not make the next ones fail.
  await shop.pool.query("UPDATE product_variant SET inventory_quantity = 1000000");
  const before = await countRows(shop.pool);
  const answers = await scenario(shop);
  await untilReleased(shop.pool);
  const after = await countRows(shop.pool);
  const { rows: keys } = await shop.pool.query(
    `SELECT ${COLUMNS.join(", ")} FROM idempotency_key ORDER BY created_at, id`,
  );
  return comparable({ answers: answers.map(visible), keys, gained: difference(after, before) });
}

/** The leases of unfinished requests end a moment after their answers. */
async function untilReleased(pool) {
  const leased = "SELECT 1 FROM idempotency_key WHERE locked_at IS NOT NULL";
  for (const deadline = Date.now() + SETTLE_TIMEOUT; Date.now() < deadline; await sleep(5)) {
    if ((await pool.query(leased)).rowCount === 0) {
      return;
    }
  }
}

function visible({ status, headers, body }) {
  const shown = HEADERS.filter((name) => name in headers).map((name) => [name, headers[name]]);
  return { status, headers: Object.fromEntries(shown), body };
}

/** The same value with the identifiers numbered as they appear, and without times. */
function comparable(value) {
  const numbers = new Map();
  const numbered = (identifier) => {
    if (!numbers.has(identifier)) {
      const kind = /^[a-z]+_/.exec(identifier)?.[0] ?? "uuid_";
      numbers.set(identifier, `<${kind}${numbers.size}>`);
    }
    return numbers.get(identifier);
  };
  const text = JSON.stringify(sorted(value)).replace(TIME, "<time>").replace(IDENTIFIER, numbered);
  return JSON.parse(text);
}

/** Objects are the same in whatever order their properties are. */
function sorted(value) {
  if (typeof value?.toJSON === "function" || typeof value !== "object" || value === null) {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map(sorted);
  }
  const names = Object.keys(value).sort();
  return Object.fromEntries(names.map((name) => [name, sorted(value[name])]));
}

async function countRows(pool) {
  const { rows: tables } = await pool.query(
    `SELECT tablename AS name FROM pg_tables
     WHERE schemaname = 'public' AND tablename <> ALL ($1) ORDER BY tablename`,
    [TRANSIENT_TABLES],
  );
  const counts = tables.map(({ name }) => `(SELECT count(*)::int FROM "${name}") AS "${name}"`);
  const { rows } = await pool.query(`SELECT ${counts.join(", ")}`);
  return rows[0];
}

function difference(after, before) {
  const changed = Object.entries(after)
    .map(([name, count]) => [name, count - before[name]])
    .filter(([, gain]) => gain !== 0);
  return Object.fromEntries(changed);
}

module.exports = { observe };
