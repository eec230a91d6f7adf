"use strict";

const { medusaError } = require("../errors/errors");
const { textFor } = require("../values/keys");
const { nearest } = require("../values/spelling");

const ANSWER = ["response_code", "response_body"];
const RESULT = ["recovery_point", ...ANSWER];
const RETURNS = "the callback of workStage has to return";

/** Names of the same property, here and in other libraries. */
const SYNONYMS = [
  ["response_code", "status", "statusCode", "code"],
  ["response_body", "body", "data", "json"],
  ["recovery_point", "next"],
];

/** The result of a stage that is read already: see http/handle.js. */
class StageResult {
  /** @param {{ stored: object, own: object }} result as stageResultOf() returns it */
  constructor({ stored, own }) {
    this.stored = stored;
    this.own = own;
  }
}

/** The status of an answer that has a body but no response_code. */
const OK = 200;
const LEAST_STATUS = 100;
const LARGEST_STATUS = 599;

/**
 * Reads what a stage's callback returned. What is not meant as a result is refused: to finish a request with it
 * would be for good.
 *
 * @param {unknown} result
 * @returns {{ stored: object, own: object }} what the engine stores, and what the resolved key carries of the
 *   caller's own values
 */
function stageResultOf(result) {
  if (result instanceof StageResult) {
    return result;
  }
  requirePlain(RETURNS, result, RESULT);
  const { recovery_point } = result;
  return recovery_point ? pointOf(recovery_point) : statusAndBody(result);
}

/** The same for the answer that a request is finished with outside of a stage. */
function answerOf(answer) {
  if (answer instanceof StageResult) {
    return answer;
  }
  requirePlain("finish(answer) takes", answer, ANSWER);
  return statusAndBody(answer);
}

/** Reads a callback's result as Medusa's service does: other properties are ignored. */
function medusaStageResultOf(result) {
  requireObject(RETURNS, result);
  const { recovery_point, response_code, response_body } = result;
  return recovery_point ? pointOf(recovery_point) : finished(response_code, response_body);
}

function pointOf(recovery_point) {
  if (typeof recovery_point !== "string") {
    throw medusaError(
      "invalid_data",
      `recovery_point has to be a string, not ${typeof recovery_point}`,
    );
  }
  return { stored: { recoveryPoint: recovery_point }, own: {} };
}

function statusAndBody({ response_code, response_body }) {
  if (response_code !== undefined && response_code !== null) {
    requireStatus(response_code);
    return finished(response_code, response_body);
  }
  return finished(response_body === undefined ? undefined : OK, response_body);
}

function finished(response_code, response_body) {
  return {
    stored: {
      responseCode: textFor("response_code", response_code) ?? undefined,
      responseBody: textFor("response_body", response_body) ?? undefined,
    },
    own: { response_body },
  };
}

/**
 * @param {string} does what is done with the object, for the message
 * @param {unknown} result
 * @param {string[]} names that it may have
 */
function requirePlain(does, result, names) {
  requireObject(does, result, names);
  if (!isPlain(result)) {
    throw medusaError("invalid_data", `${does} a plain object, not ${kindOf(result)}`);
  }
  const unknown = Object.keys(result).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    const of = names.join(", ");
    throw medusaError("invalid_data", `${does} an object of ${of}; ${misnomer(unknown, names)}`);
  }
}

function requireObject(does, result, names = RESULT) {
  if (typeof result !== "object" || result === null) {
    const answer = names.filter((name) => name !== "recovery_point").join(", ");
    throw medusaError("invalid_data", `${does} an object: { recovery_point } or { ${answer} }`);
  }
}

function misnomer(unknown, names) {
  const synonyms = SYNONYMS.find((same) => same.includes(unknown)) ?? [];
  const meant = nearest(unknown, names) ?? names.find((name) => synonyms.includes(name));
  return meant
    ? `${unknown}: did you mean ${meant}?`
    : `${JSON.stringify(unknown)} is none of them`;
}

/** Works across realms: a Jest test has an Object of its own. */
function isPlain(value) {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function kindOf(value) {
  return Array.isArray(value)
    ? "an array"
    : `an instance of ${value.constructor?.name || "a class"}`;
}

function requireStatus(status) {
  if (!Number.isInteger(status) || status < LEAST_STATUS || status > LARGEST_STATUS) {
    throw medusaError(
      "invalid_data",
      `response_code has to be a whole number from ${LEAST_STATUS} to ${LARGEST_STATUS}, ` +
        `not ${shown(status)}`,
    );
  }
}

/** Shows a number as it is, but only the type of anything else: it may be a request's content. */
function shown(value) {
  return typeof value === "number" ? String(value) : `a value of type ${typeof value}`;
}

module.exports = { StageResult, answerOf, medusaStageResultOf, requirePlain, stageResultOf };
