"use strict";

const { medusaError } = require("../errors/errors");
const { currentRequest } = require("./request-context");

/** What can become of the retry of a request that was interrupted before it reached a recovery point. */
const ON_INTERRUPTED = ["retry", "refuse"];

/** The code of such a retry that is refused. */
const INTERRUPTED = "idempotency_key_interrupted";

/**
 * Begins a request as the option `onInterrupted` says: its function is asked only once it is known that the
 * request was interrupted.
 *
 * @param {string | Function} onInterrupted
 * @param {string} key
 * @param {{ method?: string, params?: unknown, path?: string }} request
 * @param {(refuseInterrupted: boolean) => Promise<object>} begin
 */
async function beginUnlessRefused(onInterrupted, key, request, begin) {
  try {
    return await begin(onInterrupted !== "retry");
  } catch (error) {
    const isUndecided = error?.code === INTERRUPTED && typeof onInterrupted === "function";
    if (isUndecided && (await decisionOf(onInterrupted, key, request)) === "retry") {
      return begin(false);
    }
    throw error;
  }
}

async function decisionOf(onInterrupted, key, { method, params, path }) {
  const url = currentRequest()?.path;
  const decision = await onInterrupted({ key, method, params, path, url });
  if (!ON_INTERRUPTED.includes(decision)) {
    throw medusaError(
      "invalid_argument",
      `onInterrupted has to answer one of ${ON_INTERRUPTED.join(", ")}, not ${typeof decision}`,
      "invalid_option",
    );
  }
  return decision;
}

module.exports = { ON_INTERRUPTED, beginUnlessRefused };
