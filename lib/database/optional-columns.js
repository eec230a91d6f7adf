"use strict";

const { performance } = require("node:perf_hooks");
const { ask } = require("../bridge/calls");
const { unwrap } = require("../errors/errors");

/** Milliseconds until a table without a column is looked at again. */
const LOOK_AGAIN = 60_000;

/** The columns that Medusa's table does not have, in the order in which the engine answers them; and what is missed. */
const LACKS = {
  request_fingerprint:
    "a key that is used again for the same route with another body is not noticed",
  response_headers: "a replay has the status and the body of the first answer, but not its headers",
};
const COLUMNS = Object.keys(LACKS);

/** Which columns tables have, and when that was seen. */
const seenOf = new Map();
/** The tables, each with a column, whose lack of it was told. */
const warnedOf = new Set();

/**
 * Which of the optional columns that are asked for a table has. Of those that it has not is told once.
 *
 * @param {(keyof typeof LACKS)[]} wanted
 * @param {string} table tells it from others of the process
 * @param {object} native service
 * @param {(message: string) => void} tell warns whoever runs the backend
 * @returns {Promise<Partial<Record<keyof typeof LACKS, boolean>>>}
 */
async function optionalColumns(wanted, table, native, tell) {
  const known = columnsKnown(wanted, table);
  if (known) {
    return known;
  }
  const found = unwrap(await ask((to) => native.optionalColumns(...to)));
  const seen = Object.fromEntries(COLUMNS.map((name, index) => [name, found[index]]));
  seenOf.set(table, { has: seen, at: performance.now() });
  for (const name of wanted) {
    tellOfLack(name, seen[name], table, tell);
  }
  return seen;
}

/** The same, where it has been seen lately; else undefined. */
function columnsKnown(wanted, table) {
  const { has, at } = seenOf.get(table) ?? {};
  const isFresh = () => wanted.every((name) => has[name]) || performance.now() - at < LOOK_AGAIN;
  return has && isFresh() ? has : undefined;
}

function tellOfLack(name, isThere, table, tell) {
  const lack = `${name} ${table}`;
  if (!isThere && !warnedOf.has(lack)) {
    warnedOf.add(lack);
    tell(
      `the table idempotency_key has no column ${name}, so ${LACKS[name]}: run the migrations of ` +
        "this package (medusa migrations run, or migrate())",
    );
  }
}

/** Forgets what was seen of a table's columns. */
function forgetColumns(table) {
  seenOf.delete(table);
}

module.exports = { columnsKnown, forgetColumns, optionalColumns };
