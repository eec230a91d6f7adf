"use strict";

const { checkStages } = require("../request/run-stages");
const { STAGED } = require("./policy");
const { policyFor } = require("./setup");

/**
 * The staged form of an adapter: its work gets the framework's own request, as `(tx, native, attempt)`.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {Function | Record<string, Function>} work one function, or a function for each recovery point
 * @param {object} [options] as policyFrom() reads them
 * @returns {(native: unknown, request: import("./request").HttpRequest) => Promise<object>} resolves to the answer
 */
function stagedHandling(service, work, options) {
  const policy = policyFor(service, options, { defaults: STAGED });
  const workFor = typeof work === "function" ? oneStage(work) : stagesFrom(work);
  return (native, request) => service.handle(request, workFor(native), policy);
}

function oneStage(work) {
  return (native) => (tx, attempt) => work(tx, native, attempt);
}

function stagesFrom(work) {
  checkStages("staged(service, stages)", work);
  const stages = Object.entries(work);
  return (native) =>
    Object.fromEntries(
      stages.map(([point, stage]) => [point, (tx, _key, attempt) => stage(tx, native, attempt)]),
    );
}

module.exports = { stagedHandling };
