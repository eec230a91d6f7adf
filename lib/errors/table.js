"use strict";

// Every error that the engine knows, by the name that it crosses the bridge with (`src/node/error.rs`): the type
// of the MedusaError it is (none: it is no MedusaError), the code to test for, the status of the response, and
// the words, made of what the engine gives. Where an entry has no code of its own, a connection's error has that
// of the system or the server.

/**
 * @typedef {object} Failure what the engine gives
 * @property {string} kind
 * @property {string} [code] SQLSTATE or system error
 * @property {string} [key]
 * @property {string} [target] host, port and database
 * @property {string} [reason]
 * @property {number} [running]
 * @property {boolean} [duringCommit]
 *
 * @typedef {object} Entry
 * @property {string} [type]
 * @property {string} [code]
 * @property {number} status
 * @property {(failure: Failure) => string} message
 */

/** @type {Record<string, Entry>} */
const REQUESTS = {
  not_found: {
    type: "not_found",
    status: 404,
    message: ({ key }) => `Idempotency key ${key} was not found`,
  },
  none_selected: {
    type: "not_found",
    status: 404,
    message: ({ key }) => `Idempotency key with constraints on ${key || "no column"} was not found`,
  },
  several_selected: {
    status: 500,
    message: ({ key }) =>
      `Multiple keys were found for constraints on ${key || "no column"}. There should only be one.`,
  },
  locked: { type: "conflict", status: 409, message: () => "Key already locked" },
  busy: {
    type: "conflict",
    code: "55P03",
    status: 409,
    message: ({ key }) =>
      `Idempotency key ${key} is in use: a running stage holds its row. Retry later; ` +
      "inside that stage's own callback, use service.withTransaction(manager)",
  },
  in_use: {
    type: "conflict",
    code: "idempotency_key_in_use",
    status: 409,
    message: ({ key }) =>
      `A request with the idempotency key ${key} is in progress. Retry later with the same ` +
      "key to get its answer",
  },
  lease_lost: {
    type: "conflict",
    code: "lease_lost",
    status: 409,
    message: ({ key }) =>
      `The request with the idempotency key ${key} has gone on without this caller: its lease ` +
      "ran out and a retry has taken it over, or a commit was not heard of. Ask again with " +
      "initializeRequest, as a retry does",
  },
  interrupted: {
    type: "conflict",
    code: "idempotency_key_interrupted",
    status: 409,
    message: ({ key }) =>
      `The request with the idempotency key ${key} was interrupted: its process died or hung, so ` +
      "what it did outside of the database may have happened. Find out; then store its answer " +
      "with update(), or let it be tried again with release()",
  },
  finished: {
    type: "conflict",
    code: "idempotency_key_finished",
    status: 409,
    message: ({ key }) =>
      `The request with the idempotency key ${key} is finished; its stored answer stays as it is`,
  },
  released: {
    type: "conflict",
    code: "idempotency_key_released",
    status: 409,
    message: ({ key }) =>
      `The request with the idempotency key ${key} is released already: a retry may begin it`,
  },
  reused: {
    type: "duplicate_error",
    code: "idempotency_key_reused",
    status: 422,
    message: ({ key }) =>
      `The idempotency key ${key} was used for another request (method, path, parameters ` +
      "or body differ). Use a new key for a new request",
  },
  invalid_key: {
    type: "invalid_data",
    code: "invalid_idempotency_key",
    status: 400,
    message: () => "Idempotency-Key has to be 1 to 255 visible ASCII characters, best a UUID",
  },
};

/** @type {Record<string, Entry>} */
const MISTAKES = {
  invalid_argument: { type: "invalid_argument", status: 500, message: ({ reason }) => reason },
  invalid_data: { type: "invalid_data", status: 400, message: ({ reason }) => reason },
  transaction_control: {
    type: "invalid_argument",
    status: 500,
    message: ({ reason }) =>
      `${reason} is not for a statement inside a stage: throw to roll back, return to commit, ` +
      "use manager.transaction(work) for a savepoint",
  },
  transaction_ended: unexpected(
    "transaction_ended",
    () =>
      "the transaction of this manager has ended: await every use of it before the callback returns",
  ),
  rolled_back: unexpected(
    "transaction_ended",
    () => "the transaction was rolled back inside its own callback: nothing was committed",
  ),
  overlapping_savepoints: unexpected(
    "overlapping_savepoints",
    () =>
      "two nested transactions of one manager overlapped, so the whole transaction was " +
      "rolled back: await one before the next begins",
  ),
  closed: unexpected("service_closed", () => "the service was closed: construct a new one"),
  close_timed_out: unexpected(
    "close_timeout",
    ({ target }) => `calls on ${target} still ran 30 s after close()`,
  ),
  stages_exhausted: {
    type: "unexpected_state",
    code: "stages_exhausted",
    status: 503,
    message: ({ running, target }) =>
      `no stage could start within acquireTimeout: ${running} stages are running on ${target}. Raise maxConnections; ` +
      "inside a stage's callback, use service.withTransaction(manager)",
  },
  batch_lost: unexpected(
    "batch_lost",
    () => "the statement's batch ended without an answer, so whether it ran is unknown",
  ),
  call_lost: unexpected(
    "call_lost",
    ({ reason }) =>
      `the call ${reason}, so whether it did anything is unknown: this is a fault of ` +
      "medusa-idempotency-key",
  ),
  row_swallowed: unexpected(
    "row_swallowed",
    () =>
      "the database accepted the idempotency key but stored no row: " +
      "is there a trigger or a rule on the table, or a policy that hides the row from this role?",
  ),
  operation_stuck: unexpected(
    "operation_stuck",
    () => "the operation waits for nothing that anybody could give it",
  ),
  work: { status: 500, message: () => "the work failed" },
};

/** @type {Record<string, Entry>} */
const CONNECTIONS = {
  connection_lost: connection(
    ({ reason, target }) =>
      `lost or could not reach PostgreSQL at ${target}: ${withRemedy(reason)}`,
  ),
  connection_ended: connection(({ reason, target }) => `PostgreSQL at ${target}: ${reason}`),
  connection_not_opened: connection(
    ({ target }) => `no connection within connectTimeout on ${target}`,
  ),
  no_connection_free: connection(
    ({ target }) => `no connection became free within acquireTimeout on ${target}`,
  ),
  no_answer: connection(
    ({ target }) =>
      `no answer within statementTimeout, so whether the statement ran is unknown, on ${target}`,
  ),
  no_password: connection(
    ({ reason, target }) => `the password function for PostgreSQL at ${target} failed: ${reason}`,
  ),
  statement_pooling: connection(
    ({ target }) =>
      `the pooler at ${target} is in statement mode, in which there are no transactions: set it to ` +
      "transaction or session mode, or connect to the server itself",
  ),
  wrong_server_state: connection(
    ({ target }) => `no server at ${target} is what target_session_attrs asks for`,
  ),
};

function unexpected(code, message) {
  return { type: "unexpected_state", code, status: 500, message };
}

function connection(message) {
  return {
    status: 503,
    message: (failure) =>
      failure.duringCommit
        ? `${message(failure)}; the connection was lost during COMMIT, so whether the stage was ` +
          "committed is unknown: read the key to find out"
        : message(failure),
  };
}

/** What rustls says of a certificate that OpenSSL would take, in words that help. */
function withRemedy(reason) {
  return reason.includes("CaUsedAsEndEntity")
    ? `${reason}: the server's certificate is an authority's. Make one for the server (with ` +
        "basicConstraints=CA:FALSE), or set ssl.rejectUnauthorized to false"
    : reason;
}

/** What to do where PostgreSQL does not find the table of idempotency keys. */
const NO_TABLE_HINT = "call migrate(), or run Medusa's migrations on this database";

const ERRORS = { ...REQUESTS, ...MISTAKES, ...CONNECTIONS };

module.exports = { ERRORS, NO_TABLE_HINT };
