"use strict";

const { replayReply, sendReply } = require("./fastify-replies");
const { protect, requestOf } = require("./node");
const { policyFor } = require("./setup");
const { stagedHandling } = require("./staged");

/** Options of register() itself. */
const FASTIFYS_OWN = ["prefix", "logLevel", "logSerializers"];

/**
 * Fastify plugin that keeps the answers of the routes beside it, and replays them.
 *
 * @param {object} app
 * @param {{ service: import("../service").IdempotencyKeyService }} options and those that policyFrom() reads
 */
async function idempotency(app, { service, ...options }) {
  FASTIFYS_OWN.forEach((name) => delete options[name]);
  const policy = policyFor(service, options);
  // The body has been parsed and validated by then.
  app.addHook("preHandler", (request, reply, next) => {
    const send = (answer) => replayReply(reply, answer);
    protect({
      ...{ service, policy, request: requestOf(request.raw, request), send },
      ...{ req: request.raw, res: reply.raw, given: reply.getHeaders(), run: () => next() },
    }).catch(next);
  });
}

// Else the hook would be for routes that are declared inside of the plugin.
idempotency[Symbol.for("skip-override")] = true;
idempotency[Symbol.for("fastify.display-name")] = "medusa-idempotency-key";

/**
 * A handler whose work gets the transaction that stores its answer.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {Function | Record<string, Function>} work `(tx, request, attempt)`, or stages of it
 * @param {object} [options] as policyFrom() reads them
 */
function staged(service, work, options) {
  const handle = stagedHandling(service, work, options);
  return async (request, reply) =>
    sendReply(reply, await handle(request, requestOf(request.raw, request)));
}

module.exports = { idempotency, staged };
