"use strict";

const { medusaError } = require("../errors/errors");
const { fingerprintOf } = require("./fingerprints");
const { namedArguments, requireFunction } = require("../values/arguments");

const FINISHED = "finished";
const SIGNATURE = "runStages(request, stages)";
const REQUEST = ["key", "method", "params", "path", "body"];

/**
 * What a request is to be told from others by.
 *
 * @param {string} signature of the method that it is given to, for the message
 * @param {unknown} request
 * @returns {{ key?: string, method?: string, params?: unknown, path?: string, fingerprint?: string }}
 */
function requestOf(signature, request) {
  const { key, method, params, path, body } = namedArguments(signature, request, REQUEST);
  const fingerprint = body === undefined ? undefined : fingerprintOf(method, path, body);
  return { key, method, params, path, fingerprint };
}

/** Refuses what are no stages before any work is done. */
function checkStages(stages) {
  if (typeof stages !== "object" || stages === null || Array.isArray(stages)) {
    throw medusaError("invalid_argument", `${SIGNATURE}: stages is an object of functions`);
  }
  for (const [point, stage] of Object.entries(stages)) {
    requireFunction(`${SIGNATURE}: stage ${JSON.stringify(point)}`, stage);
  }
}

/** The function of a recovery point. */
function stageAt(stages, point) {
  if (!Object.hasOwn(stages, point)) {
    throw medusaError(
      "invalid_argument",
      `${SIGNATURE}: there is no stage for the recovery point ${JSON.stringify(point)}; there are ` +
        Object.keys(stages).join(", "),
      "unknown_recovery_point",
    );
  }
  return stages[point];
}

/** A stage that leads where there is another, or to the end; else what it did is undone. */
function checkedStage(stages, key, attempt) {
  const stage = stageAt(stages, key.recovery_point);
  return async (manager) => {
    const result = await stage(manager, key, attempt);
    if (result?.recovery_point && result.recovery_point !== FINISHED) {
      stageAt(stages, result.recovery_point);
    }
    return result;
  };
}

/**
 * Runs the stages of a request from where its key stands until it is finished.
 *
 * @param {import("./attempt").Attempt} attempt at the request
 * @param {Record<string, Function>} stages
 * @param {(key: object, work: Function) => Promise<object>} workStage
 */
async function runFrom(attempt, stages, workStage) {
  const { began } = attempt;
  let current = attempt.key;
  while (current.recovery_point !== FINISHED) {
    current = await workStage(current, checkedStage(stages, current, attempt));
  }
  const { idempotency_key, response_code, response_body } = current;
  return { idempotency_key, response_code, response_body, replayed: began === FINISHED, began };
}

module.exports = { FINISHED, checkStages, requestOf, runFrom };
