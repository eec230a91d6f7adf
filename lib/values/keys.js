"use strict";

const { isDate } = require("node:util").types;
const { medusaError } = require("../errors/errors");
const { jsonOf } = require("./json");
const { nearest } = require("./spelling");
const { utcTime } = require("./times");

/** The columns of the table, in the order of `with_columns!` in src/engine/key.rs; a test compares the two. */
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
const NAMES = new Set(COLUMNS);
const JSON_COLUMNS = new Set(["request_params", "response_body"]);
const REQUEST_PARAMS = COLUMNS.indexOf("request_params");
const RESPONSE_BODY = COLUMNS.indexOf("response_body");

/**
 * JSON that is longer crosses by itself. Written into another JSON and read from it, a body of 10 kB or 100 kB
 * doubles the CPU that a call takes.
 */
const LONG = 4096;

/**
 * The text that PostgreSQL reads a value from; `null` is SQL NULL, `undefined` is not given.
 *
 * @param {string} column
 * @param {unknown} value
 * @returns {string | null | undefined}
 */
function textFor(column, value) {
  return JSON_COLUMNS.has(column) ? jsonText(value) : plainText(value);
}

function jsonText(value) {
  if (value === undefined || value === null) {
    return value;
  }
  return jsonOf(value) ?? null;
}

/** Half of a surrogate pair becomes what it becomes in UTF-8: JSON would write it as an escape. */
function plainText(value) {
  if (typeof value === "string") {
    return value.toWellFormed();
  }
  if (value === undefined || value === null) {
    return value;
  }
  if (isDate(value)) {
    return utcTime(value);
  }
  return (typeof value === "object" ? jsonOf(value) : String(value))?.toWellFormed();
}

/**
 * The columns that an object gives, for the engine: a bit for each, in the order of the table's, and
 * the texts of all, `undefined` for those that are not given. Its other properties are ignored.
 *
 * @param {object} payload
 * @param {string} [key] the key itself, in place of the payload's
 * @returns {[number, (string | null | undefined)[], long?: [params?: string, body?: string]]} JSON
 *   that is long is not among the texts
 */
function columnsOf(payload, key = plainText(payload.idempotency_key)) {
  // One by one: V8 remembers where an object has what is named in the source.
  const texts = [
    plainText(payload.id),
    key,
    plainText(payload.created_at),
    plainText(payload.locked_at),
    plainText(payload.request_method),
    jsonText(payload.request_params),
    plainText(payload.request_path),
    plainText(payload.response_code),
    jsonText(payload.response_body),
    plainText(payload.recovery_point),
  ];
  let named = 0;
  for (let index = 0; index < texts.length; index += 1) {
    if (texts[index] !== undefined) {
      named |= 1 << index;
    }
  }
  if (texts[REQUEST_PARAMS]?.length > LONG || texts[RESPONSE_BODY]?.length > LONG) {
    const long = [texts[REQUEST_PARAMS], texts[RESPONSE_BODY]];
    texts[REQUEST_PARAMS] = undefined;
    texts[RESPONSE_BODY] = undefined;
    return [named, texts, long];
  }
  return [named, texts];
}

/** @param {string} method whose argument it is, for the message */
function requireColumns(method, payload) {
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) {
    throw medusaError("invalid_data", `${method} takes an object with the key's columns`);
  }
}

/** Refuses names that are near a column's: they were meant as one, and would be ignored. */
function requireSpelling(method, payload) {
  for (const name in payload) {
    if (!NAMES.has(name)) {
      const meant = nearest(name, COLUMNS);
      if (meant) {
        throw medusaError("invalid_data", `${method}: ${name}: did you mean ${meant}?`);
      }
    }
  }
}

/** The headers of the stored answers of keys, where they were asked for. */
const headersOfKeys = new WeakMap();

/** The headers of a key's stored answer, if the key was answered with them. */
function headersOf(key) {
  return headersOfKeys.get(key);
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
  if (milliseconds === null) {
    return null;
  }
  return Number.isFinite(milliseconds) ? new Date(milliseconds) : milliseconds;
}

/**
 * A key, as Medusa's service resolves to it.
 *
 * @param {unknown[] | object} row as the engine answers it: a list of the columns in their order; or as
 *   `pg` does
 * @param {object} [own] the caller's own JSON values, which the key carries instead of copies:
 *   Medusa's serialisers depend on it
 */
function keyFrom(row, own = {}) {
  const isList = Array.isArray(row);
  const key = isList ? keyFromList(row, own) : keyFromRow(row, own);
  const headers = isList ? row[COLUMNS.length] : jsonFrom(row.response_headers ?? null);
  if (headers) {
    headersOfKeys.set(key, headers);
  }
  return key;
}

/** @param {unknown[]} row in the order of {@link COLUMNS} */
function keyFromList(row, own) {
  const [
    id,
    idempotency_key,
    created_at,
    locked_at,
    request_method,
    stored_params,
    request_path,
    response_code,
    stored_body,
    recovery_point,
  ] = row;
  const { request_params = stored_params, response_body = stored_body } = own;
  return {
    id,
    idempotency_key,
    created_at: timeFrom(created_at),
    locked_at: timeFrom(locked_at),
    request_method,
    request_params,
    request_path,
    response_code,
    response_body,
    recovery_point,
  };
}

function keyFromRow(row, own) {
  const { request_params = jsonFrom(row.request_params) } = own;
  const { response_body = jsonFrom(row.response_body) } = own;
  return {
    id: row.id,
    idempotency_key: row.idempotency_key,
    created_at: timeFrom(millisecondsOf(row.created_at)),
    locked_at: timeFrom(millisecondsOf(row.locked_at)),
    request_method: row.request_method,
    request_params,
    request_path: row.request_path,
    response_code: row.response_code,
    response_body,
    recovery_point: row.recovery_point,
  };
}

/** A Date; a number where it is infinite; text where a project has set a parser of its own. */
function millisecondsOf(time) {
  if (time === null) {
    return null;
  }
  return Number(typeof time === "string" ? new Date(time) : time);
}

function jsonFrom(text) {
  return text === null ? null : JSON.parse(text);
}

module.exports = {
  COLUMNS,
  JSON_COLUMNS,
  textFor,
  columnsOf,
  headersOf,
  keyFrom,
  requestFrom,
  requireColumns,
  requireSpelling,
};
