"use strict";

const { protect, requestOf } = require("./node");
const { sendAnswer } = require("./node-answers");
const { policyFor } = require("./setup");
const { stagedHandling } = require("./staged");

/**
 * Koa middleware that keeps the answers of the middleware behind it, and replays them.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {object} [options] as policyFrom() reads them
 */
function idempotency(service, options) {
  const policy = policyFor(service, options);
  return (ctx, next) => {
    const { req, res } = ctx;
    const send = (answer) => respond(ctx, answer);
    return protect({ service, policy, request: httpRequestOf(ctx), req, res, run: next, send });
  };
}

/**
 * A handler whose work gets the transaction that stores its answer.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {Function | Record<string, Function>} work `(tx, ctx, attempt)`, or stages of it
 * @param {object} [options] as policyFrom() reads them
 */
function staged(service, work, options) {
  const handle = stagedHandling(service, work, options);
  return async (ctx) => {
    respond(ctx, await handle(ctx, httpRequestOf(ctx)));
  };
}

/** By itself: Koa would set headers for its own body, and middleware before this one may change it once more. */
function respond(ctx, answer) {
  ctx.respond = false;
  sendAnswer(ctx.res, answer);
}

function httpRequestOf(ctx) {
  // What koa-bodyparser and @koa/router have made of it.
  return requestOf(ctx.req, ctx, { body: ctx.request.body, params: ctx.params });
}

module.exports = { idempotency, staged };
