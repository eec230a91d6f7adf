"use strict";

const { medusaError } = require("../errors/errors");

/** The error of a call in a transaction that has ended, or has not begun. */
function transactionEnded() {
  return medusaError(
    "unexpected_state",
    "the transaction of this handle has ended, or has not begun: await every use of it inside of the transaction",
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
 * @param {string} given what it is bound to
 * @param {string[]} openers what opens a transaction, for each library
 */
function notAHandle(given, openers) {
  return medusaError(
    "invalid_argument",
    `withTransaction() was given ${given}. It takes the handle of an open transaction, as one has it from ` +
      `${openers.slice(0, -1).join(", ")} or ${openers.at(-1)}`,
    "invalid_manager",
  );
}

/** What a value is, in words: never what is in it. */
function kindOf(value) {
  if (value === null) {
    return "null";
  }
  if (typeof value === "function") {
    return "a function";
  }
  if (typeof value !== "object") {
    return `a ${typeof value}`;
  }
  if (Array.isArray(value)) {
    return "an array";
  }
  const name = classOf(value);
  return name && name !== "Object" ? `an object of the class ${name}` : "an object";
}

function classOf(value) {
  try {
    const { name } = value.constructor;
    return typeof name === "string" ? name : undefined;
  } catch {
    return undefined;
  }
}

module.exports = { kindOf, notAHandle, otherInstallation, transactionEnded };
