"use strict";

const { medusaError } = require("../errors/errors");
const { withStatus } = require("../errors/http-errors");

/**
 * JSON of a value, or another text of it. Throws `invalid_data` for what is nested too deeply: a
 * body-parser reads such a body.
 *
 * @param {unknown} value
 * @param {(value: unknown) => string | undefined} [stringify]
 * @returns {string | undefined} undefined for what has no JSON, such as a function
 */
function jsonOf(value, stringify = JSON.stringify) {
  try {
    return stringify(value);
  } catch (error) {
    throw explained(error);
  }
}

function explained(error) {
  if (error instanceof RangeError) {
    return medusaError(
      "invalid_data",
      "a value is nested too deeply, or too long, to be written as text",
    );
  }
  // A BigInt, a circle: not what a request can bring. What a toJSON of the user's throws stays as it is.
  return error instanceof TypeError ? withStatus(error, 500) : error;
}

module.exports = { jsonOf };
