"use strict";

const { medusaError } = require("../errors/errors");
const { namedArguments, requireFunction } = require("../values/arguments");
const { Attempt } = require("./attempt");
const { fingerprintOf } = require("./fingerprints");
const { FINISHED } = require("./recovery-points");
const { released, workStage } = require("./stages");

const REQUEST = ["key", "method", "params", "path", "body"];

/**
 * Reads the description of a request, by which it is told from others.
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

/**
 * Checks the stages before any work is done.
 *
 * @param {string} signature of the method that they are given to, for the message
 * @param {unknown} stages
 */
function checkStages(signature, stages) {
  if (typeof stages !== "object" || stages === null || Array.isArray(stages)) {
    throw medusaError("invalid_argument", `${signature}: stages is an object of functions`);
  }
  for (const [point, stage] of Object.entries(stages)) {
    requireFunction(`${signature}: stage ${JSON.stringify(point)}`, stage);
  }
}

/** The function that goes on from a recovery point. */
function stageAt(stages, point) {
  if (!Object.hasOwn(stages, point)) {
    throw medusaError(
      "invalid_argument",
      `there is no stage for the recovery point ${JSON.stringify(point)}; there are ` +
        Object.keys(stages).join(", "),
      "unknown_recovery_point",
    );
  }
  return stages[point];
}

/** Wraps a stage so that it is rolled back if it leads to a recovery point that has no stage. */
function checkedStage(stages, key, attempt) {
  const stage = stageAt(stages, key.recovery_point);
  return async (manager) => {
    const result = await stage(manager, key, attempt);
    const point = result?.recovery_point;
    // What is no text is refused as in any stage.
    if (typeof point === "string" && point !== "" && point !== FINISHED) {
      stageAt(stages, point);
    }
    return result;
  };
}

/**
 * Begins a request and runs its stages, from where its key stands until it is finished.
 *
 * @param {import("../places/context").Context} context
 * @param {object} request as requestOf() reads it
 * @param {Record<string, Function>} stages
 */
async function runStages(context, request, stages) {
  const { key, began } = await runToEnd(context, request, stages);
  const { idempotency_key, response_code, response_body } = key;
  return { idempotency_key, response_code, response_body, replayed: began === FINISHED, began };
}

/** The same, and resolves to the finished key and to how the attempt began. */
async function runToEnd(context, request, stages) {
  const { key, lease } = await context.semantics.begin(context, request, (begun, held) =>
    checkedStage(stages, begun, new Attempt(context, begun, held)),
  );
  lease.keepAlive();
  try {
    return await runFrom(context, new Attempt(context, key, lease), stages);
  } catch (error) {
    await released(context.place, lease);
    throw error;
  } finally {
    lease.stopRenewing();
  }
}

async function runFrom(context, attempt, stages) {
  const { began } = attempt;
  let current = attempt.key;
  while (current.recovery_point !== FINISHED) {
    current = await workStage(context, current, checkedStage(stages, current, attempt));
  }
  return { key: current, began };
}

module.exports = { checkStages, requestOf, runStages, runToEnd, stageAt };
