"use strict";

const { ask } = require("../bridge/calls");
const { errorFrom } = require("../errors/errors");

/** Milliseconds between two rounds: frequent rounds are short, rare ones cost little. */
const MOST_OFTEN = 60_000;
const LEAST_OFTEN = 3_600_000;
const ROUNDS_PER_RETENTION = 10;
/** About how many keys one statement deletes. */
const BATCH = 1000;

/** The native service that prunes each table: one per process is enough for a table. */
const pruned = new Map();

/**
 * Prunes a table in the background as long as the native service's pool is open: JavaScript services come and go
 * with requests, but share that pool.
 *
 * @param {string} table
 * @param {object} native service
 * @param {number} retention milliseconds
 * @param {(error: Error) => void} failed is told why a round failed; the next one comes all the same
 */
function keepPruning(table, native, retention, failed) {
  if (pruned.get(table)?.isPoolOpen) {
    return;
  }
  pruned.set(table, native);
  const pause = Math.min(Math.max(retention / ROUNDS_PER_RETENTION, MOST_OFTEN), LEAST_OFTEN);
  const timer = setInterval(() => void round(), pause).unref();
  const round = async () => {
    if (!native.isPoolOpen) {
      clearInterval(timer);
      return;
    }
    const { failure } = await ask((to) => native.prune(...to, retention, BATCH));
    if (failure && native.isPoolOpen) {
      failed(errorFrom(failure));
    }
  };
  void round();
}

module.exports = { keepPruning };
