"use strict";

const { performance } = require("node:perf_hooks");

// What whoever runs the backend is warned of, as warnings of the process.

const MINUTE = 60_000;

/** When a warning was given last, by its code. */
const givenAt = new Map();

/** Warns once of requests that carry credentials where no scope tells the clients apart. */
function warnOfNoScope() {
  warn(
    "IDEMPOTENCY_NO_SCOPE",
    Infinity,
    "requests carry credentials (a cookie or an Authorization header), but no scope is configured: a client that " +
      "sends the key and the request of another one gets that one's stored answer. Give the option scope, such as " +
      "(request) => request.user.id, or () => null if all clients may see each other's answers",
  );
}

/** @param {Error} error why the database cannot be reached */
function warnOfNoProtection({ message }) {
  warn(
    "IDEMPOTENCY_UNAVAILABLE",
    MINUTE,
    `requests run without protection against repeats (onUnavailable: "run"): ${message}`,
  );
}

function warn(code, pause, message) {
  const now = performance.now();
  const last = givenAt.get(code);
  if (last === undefined || now - last >= pause) {
    givenAt.set(code, now);
    process.emitWarning(`medusa-idempotency-key: ${message}`, { code });
  }
}

module.exports = { warnOfNoProtection, warnOfNoScope };
