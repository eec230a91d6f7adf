"use strict";

const { performance } = require("node:perf_hooks");
const { ask } = require("../bridge/calls");

/** Milliseconds until a table without the column for fingerprints is looked at again. */
const LOOK_AGAIN = 60_000;

/** Which tables have the column, and when that was seen. */
const seenOf = new Map();
/** The tables whose lack of it was told. */
const warnedOf = new Set();

/**
 * Whether a table has the column for fingerprints. That it has none is told once.
 *
 * @param {string} table tells it from others of the process
 * @param {object} native service
 * @param {(message: string) => void} tell warns whoever runs the backend
 */
async function hasFingerprints(table, native, tell) {
  const seen = seenOf.get(table);
  if (seen && (seen.has || performance.now() - seen.at < LOOK_AGAIN)) {
    return seen.has;
  }
  const { value: has } = await ask((to) => native.hasFingerprints(...to));
  if (typeof has === "boolean") {
    seenOf.set(table, { has, at: performance.now() });
  }
  if (has === false && !warnedOf.has(table)) {
    warnedOf.add(table);
    tell(
      "the table idempotency_key has no column request_fingerprint, so a key that is used again " +
        "for the same route with another body is not noticed: run the migrations of this package " +
        "(medusa migrations run, or migrate())",
    );
  }
  return has === true;
}

/** Forgets what was seen of a table's columns. */
function forgetColumns(table) {
  seenOf.delete(table);
}

module.exports = { forgetColumns, hasFingerprints };
