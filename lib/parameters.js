"use strict";

const { isDate } = require("node:util").types;

/**
 * A parameter of a statement, as `pg` would send it: text, bytes or null. Only an array is given in
 * two readings, since the server alone knows whether it is to be JSON or an array.
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
    return { json: jsonOf(value), literal: literalOf(value) };
  }
  if (typeof value.toPostgres === "function") {
    return parameterFrom(value.toPostgres(prepared));
  }
  return textOf(value);
}

/** What `pg` hands to an object's toPostgres() to turn its parts into text with. */
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
  // `null` for what has no JSON, such as an object whose toJSON() answers undefined.
  return JSON.stringify(value) ?? null;
}

/** As JSON, or undefined for what JSON cannot hold; an array of BigInt is no JSON but an int8[]. */
function jsonOf(list) {
  try {
    return JSON.stringify(list);
  } catch {
    return undefined;
  }
}

/** PostgreSQL's array literal. */
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

/**
 * A Date in local time with its offset, like `2024-05-06T09:08:07.006+02:00`: right for timestamptz,
 * and for timestamp and date the wall clock that is read back.
 */
function localTime(date) {
  if (Number.isNaN(date.getTime())) {
    return String(date);
  }
  const year = date.getFullYear();
  const days = [date.getMonth() + 1, date.getDate()].map((number) => pad(number));
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((number) =>
    pad(number),
  );
  // There is no year 0: the year before 1 A.D. is 1 B.C.
  const day = [pad(year < 1 ? 1 - year : year, 4), ...days].join("-");
  const time = `${clock.join(":")}.${pad(date.getMilliseconds(), 3)}`;
  return `${day}T${time}${zoneOf(date)}${year < 1 ? " BC" : ""}`;
}

function zoneOf(date) {
  const east = -date.getTimezoneOffset();
  const minutes = Math.abs(east);
  return `${east < 0 ? "-" : "+"}${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`;
}

function pad(number, digits = 2) {
  return String(number).padStart(digits, "0");
}

module.exports = { parameterFrom };
