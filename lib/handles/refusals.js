"use strict";

const { medusaError } = require("../errors/errors");

/** The error of a call in a transaction that has ended, or has not begun. */
function transactionEnded() {
  return medusaError(
    "unexpected_state",
    "the transaction of this manager has ended, or has not begun: await every use of it inside " +
      "manager.transaction()",
    "transaction_ended",
  );
}

/** The error of a call of a service that is bound to a transaction of another installation's. */
function otherInstallation() {
  return medusaError(
    "invalid_argument",
    "the manager comes from another installation of medusa-idempotency-key than the service: both " +
      "have to load the same one (`npm ls medusa-idempotency-key` shows all of them)",
    "invalid_manager",
  );
}

/**
 * The error of a call of a service that is bound to what is no handle.
 *
 * @param {string[]} openers what hands a handle to a callback, for each library
 */
function notAHandle(openers) {
  return medusaError(
    "invalid_argument",
    `withTransaction() takes the manager that ${openers.join(" or ")} hands to its callback`,
    "invalid_manager",
  );
}

module.exports = { notAHandle, otherInstallation, transactionEnded };
