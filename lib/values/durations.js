"use strict";

const ms = require("ms");
const { shown } = require("./shown");

/** The most characters of a duration that is given as text. */
const LONGEST = 100;

/** A thousand years: PostgreSQL's timestamps reach back some six thousand. */
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
    throw refuse(`has to be a duration in milliseconds or text like "72h", not ${shown(value)}`);
  }
  return Math.round(milliseconds);
}

/** Checks the length first: `ms` throws for text that is empty or too long. */
function fromText(text) {
  return text.length > 0 && text.length <= LONGEST ? ms(text) : undefined;
}

module.exports = { millisecondsFrom };
