"use strict";

const { unwrap } = require("../errors/errors");
const { headerText } = require("../values/arguments");
const { columnsOf, keyFrom, requestFrom, requireColumns } = require("../values/keys");
const { FINISHED_ALREADY, NO_LEASE } = require("./leases");
const { FINISHED } = require("./recovery-points");
const { answerOf, medusaStageResultOf } = require("./stage-results");

// Mode "medusa": the request semantics of Medusa's own service. Nobody holds a lease.

/** The keys of requests that were finished when they were asked for. */
const replayed = new WeakSet();

/**
 * Finds the key of a request, or creates one.
 *
 * @param {import("../places/context").Context} context
 * @param {{ key?: unknown, method?: unknown, params?: unknown, path?: unknown }} request
 */
async function initialize(context, request) {
  const initializeRequest = [headerText(request.key), requestFrom(request)];
  const answer = await context.place.run({ initializeRequest });
  const key = keyFrom(unwrap(answer));
  if (answer.outcome === "replayed") {
    replayed.add(key);
  }
  return key;
}

/** What Medusa's service does is seen at once: no request begins with its first stage. */
async function begin(context, request) {
  const key = await initialize(context, request);
  return { key, lease: leaseOf(context, key) };
}

function leaseOf(context, key) {
  return replayed.has(key) ? FINISHED_ALREADY : NO_LEASE;
}

/** Medusa's service stores the columns of an answer as any others. */
function finishing(key, answer) {
  answerOf(answer);
  const columns = { recovery_point: FINISHED, ...answer };
  const [named, texts, long] = columnsOf(columns);
  return { operation: { update: [key, named, texts] }, own: columns, long };
}

module.exports = {
  begin,
  finishing,
  initialize,
  leaseOf,
  // Nor does Medusa's service repeat any.
  repeatsThroughLibraries: false,
  requireColumns,
  stageResultOf: medusaStageResultOf,
};
