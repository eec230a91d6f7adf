"use strict";

const { protect, requestOf } = require("./node");
const { policyFrom } = require("./policy");
const { stagedHandling } = require("./staged");

/** Options of register() itself. */
const FASTIFYS_OWN = ["prefix", "logLevel", "logSerializers"];

/**
 * Fastify plugin that keeps the answers of the routes beside it, and replays them.
 *
 * @param {object} app
 * @param {{ service: import("../service").IdempotencyKeyService }} options and those that policyFrom() reads
 * @param {() => void} done
 */
function idempotency(app, { service, ...options }, done) {
  FASTIFYS_OWN.forEach((name) => delete options[name]);
  const policy = policyFrom(options);
  // The body has been parsed and validated by then.
  app.addHook("preHandler", (request, reply, next) => {
    const send = (answer) => respond(reply, answer);
    protect({
      ...{ service, policy, request: httpRequestOf(request), send },
      ...{ req: request.raw, res: reply.raw, run: () => next() },
    }).catch(next);
  });
  done();
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
  return async (request, reply) => respond(reply, await handle(request, httpRequestOf(request)));
}

function respond(reply, { status, headers, body }) {
  // Bytes, which Fastify serialises no further.
  return reply
    .code(status)
    .headers(headers)
    .send(body?.length > 0 ? Buffer.from(body) : undefined);
}

function httpRequestOf(request) {
  const { body, params } = request;
  return requestOf(request.raw, { native: request, body, params });
}

module.exports = { httpRequestOf, idempotency, respond, staged };
