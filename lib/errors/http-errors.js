"use strict";

const { sqlStateOf } = require("./sql-state");

// The signature of http-errors, which Express, Koa, Fastify and Nest read: the status of the response, whether
// the client may see the message, and the headers that go with it.

/** Seconds after which a client may ask again: a request in progress is mostly done by then. */
const RETRY_AFTER = "1";

/** Of the errors that this package makes in JavaScript; `table.js` has those of the engine. */
const OF_TYPES = {
  not_found: 404,
  conflict: 409,
  duplicate_error: 422,
  invalid_data: 400,
};

/** By class or by code, where the class says too little: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const OF_SQL_STATES = {
  "08": 503,
  22: 400,
  23505: 422,
  28: 503,
  "3D": 503,
  40001: 409,
  "40P01": 409,
  53: 503,
  "55P03": 409,
  "57P": 503,
};

/** What Node calls trouble with a connection. */
const SYSTEM_ERROR = /^E[A-Z]{3,}$/;

function statusOfSqlState(code) {
  if (SYSTEM_ERROR.test(code)) {
    return 503;
  }
  const found = [5, 3, 2].map((length) => OF_SQL_STATES[String(code).slice(0, length)]);
  return found.find(Boolean) ?? 500;
}

/**
 * Gives an error the signature of http-errors.
 *
 * @param {Error} error
 * @param {number} status of the response that it should become
 */
function withStatus(error, status) {
  error.status = status;
  error.statusCode = status;
  error.expose = status < 500;
  if (status === 409 || status === 503) {
    error.headers = { "Retry-After": RETRY_AFTER };
  }
  return error;
}

/** @param {{ type: string }} error a MedusaError */
function withStatusOfType(error) {
  return withStatus(error, OF_TYPES[error.type] ?? 500);
}

/** @param {Error & { code?: string }} error of the database, or of the driver that asked it */
function withStatusOfSqlState(error) {
  return withStatus(error, statusOfSqlState(sqlStateOf(error) ?? error.code));
}

/**
 * The same for what a statement of this package's has failed with in somebody else's transaction: it stays the
 * very error that the driver gave.
 *
 * @param {unknown} error
 */
function withStatusOfDriver(error) {
  const isBare = typeof error === "object" && error !== null && !("status" in error);
  return isBare && Object.isExtensible(error) ? withStatusOfSqlState(error) : error;
}

module.exports = { withStatus, withStatusOfDriver, withStatusOfSqlState, withStatusOfType };
