"use strict";

const { sqlStateOf } = require("../errors/sql-state");

/** SQLSTATEs of a NOT NULL or CHECK constraint: the server's detail is the row. */
const REFUSED_ROW = ["23502", "23514"];

/** Where libraries put the parameters of a statement, and what the server shows of them. */
const VALUES = ["parameters", "args", "where"];

/**
 * An error of a statement of this package's without what a client may have sent: the very one, unless it does not let
 * go of it.
 *
 * @param {unknown} error of a driver, or of a library that wraps one
 */
function withoutValues(error) {
  if (typeof error !== "object" || error === null) {
    return error;
  }
  const names = REFUSED_ROW.includes(sqlStateOf(error)) ? [...VALUES, "detail"] : VALUES;
  const isBare = names.map((name) => Reflect.deleteProperty(error, name)).every(Boolean);
  return isBare ? error : copyWithout(names, error);
}

/** An Error of the same class, with the same properties but some, and none that are hidden. */
function copyWithout(names, error) {
  const copy = Object.setPrototypeOf(new Error(error.message), Object.getPrototypeOf(error));
  Object.defineProperty(copy, "stack", { value: error.stack, writable: true, configurable: true });
  Object.assign(copy, error);
  names.forEach((name) => Reflect.deleteProperty(copy, name));
  return copy;
}

module.exports = { withoutValues };
