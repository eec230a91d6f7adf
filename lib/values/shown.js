"use strict";

const { inspect } = require("node:util");

/** The most characters of a text that a message repeats. */
const LONGEST = 100;

/** A value as a message shows it. Objects are named, not shown: they may hold what nobody wants in a log. */
function shown(value) {
  if (typeof value === "function") {
    return "a function";
  }
  if (typeof value === "object" && value !== null) {
    return Array.isArray(value) ? "an array" : "an object";
  }
  return inspect(value, { breakLength: Infinity, maxStringLength: LONGEST });
}

module.exports = { shown };
