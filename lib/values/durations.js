"use strict";

const { inspect } = require("node:util");
const ms = require("ms");

/** No duration that anybody writes is longer. */
const LONGEST = 100;

/** A thousand years: PostgreSQL's times reach back not much more than six thousand. */
const LONGEST_TIME = ms("1000y");

/**
 * A duration in milliseconds.
 *
 * @param {unknown} value milliseconds, or text such as `"72h"`
 * @param {(message: string) => Error} refuse makes the error for what is no duration
 */
function millisecondsFrom(value, refuse) {
  const milliseconds = typeof value === "string" ? fromText(value) : value;
  if (!Number.isFinite(milliseconds) || milliseconds < 0 || milliseconds > LONGEST_TIME) {
    const shown = inspect(value, { depth: 0, breakLength: Infinity });
    throw refuse(`has to be a duration in milliseconds or text like "72h", not ${shown}`);
  }
  return Math.round(milliseconds);
}

/** `ms` throws for what it does not take for text at all. */
function fromText(text) {
  return text.length > 0 && text.length <= LONGEST ? ms(text) : undefined;
}

module.exports = { millisecondsFrom };
