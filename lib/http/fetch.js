"use strict";

const { open } = require("./exchange");
const { requestOf, responseOf, stored } = require("./fetch-exchanges");
const { policyFor } = require("./setup");
const { stagedHandling } = require("./staged");

/**
 * Wraps handlers `(request, ...rest) => Response`, as Next.js, Remix, Bun and Deno have them: keeps their answers,
 * and replays them.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {object} [options] as policyFrom() reads them
 */
function idempotency(service, options) {
  const policy = policyFor(service, options);
  return (handler) =>
    async (request, ...rest) => {
      const exchange = await open(service, policy, requestOf(request));
      if (exchange.kind === "pass") {
        return handler(request, ...rest);
      }
      if (exchange.kind === "answer") {
        return responseOf(exchange.answer);
      }
      return stored(exchange, policy.maxResponseBytes, async () => handler(request, ...rest));
    };
}

/**
 * A handler whose work gets the transaction that stores its answer.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {Function | Record<string, Function>} work `(tx, request, attempt)`, or stages of it
 * @param {object} [options] as policyFrom() reads them
 */
function staged(service, work, options) {
  const handle = stagedHandling(service, work, options);
  return async (request) => responseOf(await handle(request, requestOf(request)));
}

module.exports = { idempotency, staged };
