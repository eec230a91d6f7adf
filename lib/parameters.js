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
  return textOf(value);
}

function textOf(value) {
  if (isDate(value)) {
    return localTime(value);
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
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
  const text = ArrayBuffer.isView(value)
    ? `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}`
    : textOf(value);
  return `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"')}"`;
}

/**
 * A Date in local time with its offset, like `2024-05-06T09:08:07.006+02:00`: right for timestamptz,
 * and for timestamp and date the wall clock that is read back.
 */
function localTime(date) {
  const time = date.getTime();
  if (Number.isNaN(time)) {
    return String(date);
  }
  const offset = -date.getTimezoneOffset();
  const wallClock = new Date(time + offset * 60_000).toISOString().slice(0, -1);
  const minutes = Math.abs(offset);
  const pad = (number) => String(number).padStart(2, "0");
  const zone = `${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`;
  return `${wallClock}${offset < 0 ? "-" : "+"}${zone}`;
}

module.exports = { parameterFrom };
