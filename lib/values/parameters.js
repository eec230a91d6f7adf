"use strict";

const { isDate } = require("node:util").types;
const { jsonOf } = require("./json");
const { localTime } = require("./times");

/**
 * A parameter of a statement, as `pg` would send it: text, bytes or null. An array is passed in two forms, since
 * only the server knows whether its type is json or an array.
 *
 * @param {unknown} value
 */
function parameterFrom(value) {
  if (value === undefined || value === null) {
    return null;
  }
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  if (Array.isArray(value)) {
    return { json: jsonOrNone(value), literal: jsonOf(value, literalOf) };
  }
  if (typeof value.toPostgres === "function") {
    return parameterFrom(value.toPostgres(prepared));
  }
  return textOf(value);
}

/** The function that `pg` passes to an object's toPostgres(), which converts its parts. */
function prepared(value) {
  return Array.isArray(value) ? literalOf(value) : textOf(value);
}

function textOf(value) {
  if (isDate(value)) {
    return localTime(value);
  }
  if (typeof value !== "object") {
    return String(value);
  }
  // `null` for what has no JSON, such as an object whose toJSON() returns undefined.
  return jsonOf(value) ?? null;
}

/** An array as JSON; undefined where it has none, as an array of BigInt, which can only be an int8[]. */
function jsonOrNone(list) {
  try {
    return JSON.stringify(list);
  } catch {
    return undefined;
  }
}

/** An array as a literal of PostgreSQL's. */
function literalOf(list) {
  return `{${list.map(elementOf).join(",")}}`;
}

function elementOf(value) {
  if (value === undefined || value === null) {
    return "NULL";
  }
  if (Array.isArray(value)) {
    return literalOf(value);
  }
  if (typeof value.toPostgres === "function") {
    return elementOf(value.toPostgres(prepared));
  }
  const text = ArrayBuffer.isView(value)
    ? `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}`
    : textOf(value);
  return text === null ? "NULL" : `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"')}"`;
}

module.exports = { parameterFrom };
