"use strict";

const { open } = require("./exchange");
const { requestOf, responseOf, stored } = require("./fetch-exchanges");
const { policyFor } = require("./setup");
const { stagedHandling } = require("./staged");

/**
 * Hono middleware that keeps the answers of the handlers behind it, and replays them.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {object} [options] as policyFrom() reads them
 */
function idempotency(service, options) {
  const policy = policyFor(service, options);
  return async (c, next) => {
    const exchange = await open(service, policy, httpRequestOf(c));
    if (exchange.kind === "pass") {
      return next();
    }
    if (exchange.kind === "answer") {
      return responseOf(exchange.answer);
    }
    const answer = await stored(exchange, policy.maxResponseBytes, async () => {
      await next();
      return c.res;
    });
    // Hono merges the headers of a response that it has already.
    c.res = undefined;
    c.res = answer;
  };
}

/**
 * A handler whose work gets the transaction that stores its answer.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {Function | Record<string, Function>} work `(tx, c, attempt)`, or stages of it
 * @param {object} [options] as policyFrom() reads them
 */
function staged(service, work, options) {
  const handle = stagedHandling(service, work, options);
  return async (c) => responseOf(await handle(c, httpRequestOf(c)));
}

function httpRequestOf(c) {
  return requestOf(c.req.raw, { native: c, params: c.req.param() });
}

module.exports = { idempotency, staged };
