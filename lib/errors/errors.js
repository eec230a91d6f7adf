"use strict";

const { clientsKey } = require("../values/scoped-keys");
const { withStatus, withStatusOfSqlState, withStatusOfType } = require("./http-errors");
const { ERRORS, NO_TABLE_HINT } = require("./table");

// Errors are made here and nowhere else, so that they are Errors of the caller's realm: under Jest
// what native code makes is of another one, and `instanceof Error` fails.

/** What marks an error of this package, for every copy of it in the process. */
const BRAND = Symbol.for("medusa-idempotency-key.error");

function branded(error) {
  return Object.defineProperty(error, BRAND, { value: true });
}

/**
 * Whether a value is an error that this package has made, of itself or of what the database said; and,
 * if a code is given, whether it has that code. What a user's own function has thrown is none.
 *
 * @param {unknown} error
 * @param {string} [code]
 */
function isIdempotencyError(error, code) {
  try {
    return Object.hasOwn(Object(error), BRAND) && (code === undefined || error.code === code);
  } catch {
    return false;
  }
}

/**
 * A MedusaError, as Medusa's HTTP layer knows it: `type` decides the status of the response.
 *
 * @param {string} type
 * @param {string} message
 * @param {string} [code]
 */
function medusaError(type, message, code) {
  const error = branded(new Error(message));
  // Enumerable, as on Medusa's own, so that it is seen where errors are logged as JSON.
  Object.defineProperty(error, "message", { enumerable: true });
  Object.assign(error, { __isMedusaError: true, type, code, date: new Date() });
  return withStatusOfType(error);
}

const DETAILS = [
  "severity",
  "detail",
  "hint",
  "schema",
  "table",
  "column",
  "dataType",
  "constraint",
];

/** An error of the database, with the properties TypeORM's QueryFailedError has of it. */
function databaseError(failure) {
  const error = branded(new Error(failure.reason));
  error.name = "QueryFailedError";
  error.code = failure.code;
  for (const name of DETAILS) {
    error[name] = failure[name];
  }
  if (failure.lacksTable) {
    error.hint = NO_TABLE_HINT;
  }
  return withStatusOfSqlState(error);
}

/**
 * Makes an Error of a failure that came through the door as data.
 *
 * @param {import("./table").Failure} failure
 */
function errorFrom(failure) {
  if (failure.kind === "database") {
    return databaseError(failure);
  }
  const { type, code, status, message } = ERRORS[failure.kind];
  const words = message(shown(failure));
  if (type) {
    return withStatus(medusaError(type, words, code), status);
  }
  const error = branded(new Error(words));
  if (failure.target) {
    error.code = failure.code;
  }
  return withStatus(error, status);
}

/** A key's scope is nobody's business but the server's. */
function shown(failure) {
  return typeof failure.key === "string" ? { ...failure, key: clientsKey(failure.key) } : failure;
}

/** What a native call resolves to, or its failure as an Error thrown. */
function unwrap({ value, failure }) {
  if (failure) {
    throw errorFrom(failure);
  }
  return value;
}

module.exports = { medusaError, errorFrom, isIdempotencyError, unwrap };
