"use strict";

const { medusaError } = require("./errors");
const { fingerprintOf } = require("./fingerprints");
const { namedArguments, requireFunction } = require("./arguments");

const FINISHED = "finished";
const SIGNATURE = "runStages(request, stages)";
const REQUEST = ["key", "method", "params", "path", "body"];

/**
 * What a request is to be told from others by.
 *
 * @param {unknown} request
 * @returns {{ key?: string, method?: string, params?: unknown, path?: string, fingerprint?: string }}
 */
function requestOf(request) {
  const { key, method, params, path, body } = namedArguments(SIGNATURE, request, REQUEST);
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
function checkedStage(stages, point, key) {
  const stage = stageAt(stages, point);
  return async (manager) => {
    const result = await stage(manager, key);
    if (result?.recovery_point && result.recovery_point !== FINISHED) {
      stageAt(stages, result.recovery_point);
    }
    return result;
  };
}

/**
 * Runs the stages of a request from where its key stands until it is finished.
 *
 * @param {object} key as the request was begun with
 * @param {Record<string, Function>} stages
 * @param {(key: object, work: Function) => Promise<object>} workStage
 */
async function runFrom(key, stages, workStage) {
  const replayed = key.recovery_point === FINISHED;
  let current = key;
  while (current.recovery_point !== FINISHED) {
    current = await workStage(current, checkedStage(stages, current.recovery_point, current));
  }
  const { idempotency_key, response_code, response_body } = current;
  return { idempotency_key, response_code, response_body, replayed };
}

module.exports = { checkStages, requestOf, runFrom };
