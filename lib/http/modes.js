"use strict";

const { medusaError } = require("../errors/errors");

/** Refuses a service of Medusa's semantics, in which nobody holds a lease and clients' keys are not stored. */
function requireLeases({ settings }) {
  if (settings.mode === "medusa") {
    throw medusaError(
      "invalid_argument",
      'medusa-idempotency-key: a service of mode "medusa" cannot answer HTTP requests: use mode "exactly-once"',
      "invalid_option",
    );
  }
}

module.exports = { requireLeases };
