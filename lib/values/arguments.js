"use strict";

const { medusaError } = require("../errors/errors");

/**
 * The text of a key, which is given as text or as the object that a method has resolved to. A lone surrogate is
 * replaced as UTF-8 encoders do.
 */
function keyText(key) {
  if (key === undefined || key === null) {
    throw medusaError("not_found", '"idempotencyKeyOrSelector" must be defined');
  }
  const text = typeof key === "object" ? key.idempotency_key : key;
  if (typeof text !== "string") {
    throw medusaError(
      "invalid_data",
      "an idempotency key has to be a string, or an object with one as its idempotency_key, " +
        `not ${typeof text}`,
    );
  }
  return text.toWellFormed();
}

/** The key in a request's header, if there is one. */
function headerText(header) {
  if (!header) {
    return undefined;
  }
  if (typeof header !== "string") {
    throw medusaError(
      "invalid_data",
      `an idempotency key has to be a string, not ${typeof header}`,
    );
  }
  return header.toWellFormed();
}

/** The recovery point of a key that was given as an object. */
function recoveryPointOf(key) {
  const point = typeof key === "object" ? key.recovery_point : undefined;
  return typeof point === "string" ? point : undefined;
}

function requireFunction(signature, value) {
  if (typeof value !== "function") {
    throw medusaError(
      "invalid_argument",
      `${signature}: a function was expected, not ${typeof value}`,
    );
  }
}

/** Reads a method's options. Unknown ones are refused: they would have no effect. */
function namedArguments(signature, given, names) {
  const options = given ?? {};
  if (typeof options !== "object" || Array.isArray(options)) {
    throw medusaError("invalid_argument", `${signature}: an object was expected`);
  }
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw medusaError(
      "invalid_argument",
      `${signature}: there is no option ${JSON.stringify(unknown)}; there are ${names.join(", ")}`,
    );
  }
  return options;
}

function requireBoolean(signature, value) {
  if (typeof value !== "boolean") {
    throw medusaError("invalid_argument", `${signature} has to be true or false`);
  }
}

function positiveInteger(signature, value, most) {
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw medusaError("invalid_argument", `${signature} has to be an integer from 1 to ${most}`);
  }
  return value;
}

module.exports = {
  headerText,
  keyText,
  namedArguments,
  positiveInteger,
  recoveryPointOf,
  requireBoolean,
  requireFunction,
};
