"use strict";

const { isDate } = require("node:util").types;
const { medusaError } = require("./errors");
const { utcTime } = require("./times");

/** The columns of the table, in the order in which the engine takes them. */
const COLUMNS = [
  "id",
  "idempotency_key",
  "created_at",
  "locked_at",
  "request_method",
  "request_params",
  "request_path",
  "response_code",
  "response_body",
  "recovery_point",
];
const JSON_COLUMNS = new Set(["request_params", "response_body"]);

/**
 * The text that PostgreSQL reads a value from; `null` is SQL NULL, `undefined` is not given.
 *
 * @param {string} column
 * @param {unknown} value
 * @returns {string | null | undefined}
 */
function textFor(column, value) {
  if (value === undefined || value === null) {
    return value;
  }
  if (JSON_COLUMNS.has(column)) {
    return JSON.stringify(value) ?? null;
  }
  if (isDate(value)) {
    return utcTime(value);
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/**
 * The columns that an object gives, in the engine's order. Its other properties are ignored.
 *
 * @param {string} method whose argument it is, for the message
 * @param {unknown} payload
 */
function columnsOf(method, payload) {
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) {
    throw medusaError("invalid_data", `${method} takes an object with the key's columns`);
  }
  return COLUMNS.map((column) => textFor(column, payload[column]));
}

/** What tells a request from others, for the engine. */
function requestFrom({ method, params, path }) {
  return {
    method: textFor("request_method", method) ?? undefined,
    path: textFor("request_path", path) ?? undefined,
    params: textFor("request_params", params) ?? undefined,
  };
}

/** PostgreSQL's infinite times stay what they are: no Date can hold them. */
function timeFrom(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) {
    return null;
  }
  return Number.isFinite(milliseconds) ? new Date(milliseconds) : milliseconds;
}

function jsonFrom(text) {
  return text === null || text === undefined ? null : JSON.parse(text);
}

/**
 * A key, as Medusa's service resolves to it.
 *
 * @param {object} row as the engine answers it
 * @param {object} [own] the caller's own JSON values, which the key carries instead of copies:
 *   Medusa's serialisers depend on it
 */
function keyFrom(row, own = {}) {
  const json = (column, text) => (own[column] === undefined ? jsonFrom(text) : own[column]);
  return {
    id: row.id,
    idempotency_key: row.idempotencyKey,
    created_at: timeFrom(row.createdAt),
    locked_at: timeFrom(row.lockedAt),
    request_method: row.requestMethod ?? null,
    request_params: json("request_params", row.requestParams),
    request_path: row.requestPath ?? null,
    response_code: row.responseCode ?? null,
    response_body: json("response_body", row.responseBody),
    recovery_point: row.recoveryPoint,
  };
}

module.exports = { COLUMNS, JSON_COLUMNS, textFor, columnsOf, keyFrom, requestFrom };
