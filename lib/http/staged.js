"use strict";

const { requireFunction } = require("../values/arguments");
const { STAGED, policyFrom } = require("./policy");

/**
 * The staged form of an adapter: its work gets the framework's own request, as `(tx, native, attempt)`.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {Function | Record<string, Function>} work one function, or a function for each recovery point
 * @param {object} [options] as policyFrom() reads them
 * @returns {(native: unknown, request: import("./request").HttpRequest) => Promise<object>} resolves to the answer
 */
function stagedHandling(service, work, options) {
  const policy = policyFrom(options, { defaults: STAGED });
  const workFor = typeof work === "function" ? oneStage(work) : stagesFrom(work);
  return (native, request) => service.handle(request, workFor(native), policy);
}

function oneStage(work) {
  return (native) => (tx, attempt) => work(tx, native, attempt);
}

function stagesFrom(work) {
  const stages = Object.entries(Object(work));
  stages.forEach(([point, stage]) => requireFunction(`staged(service, stages): ${point}`, stage));
  return (native) =>
    Object.fromEntries(
      stages.map(([point, stage]) => [point, (tx, _key, attempt) => stage(tx, native, attempt)]),
    );
}

module.exports = { stagedHandling };
