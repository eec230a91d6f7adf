"use strict";

const { protect, requestOf } = require("./node");
const { sendAnswer } = require("./node-answers");
const { policyFor } = require("./setup");
const { stagedHandling } = require("./staged");

/**
 * Express middleware that keeps the answers of the handlers behind it, and replays them.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {object} [options] as policyFrom() reads them
 */
function idempotency(service, options) {
  const policy = policyFor(service, options);
  return (req, res, next) => {
    const request = requestOf(req, req);
    protect({ service, policy, request, req, res, run: () => next() }).catch(next);
  };
}

/**
 * A handler whose work gets the transaction that stores its answer.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {Function | Record<string, Function>} work `(tx, req, attempt)`, or stages of it
 * @param {object} [options] as policyFrom() reads them
 */
function staged(service, work, options) {
  const handle = stagedHandling(service, work, options);
  return (req, res, next) => {
    handle(req, requestOf(req, req))
      .then((answer) => sendAnswer(res, answer))
      .catch(next);
  };
}

module.exports = { idempotency, staged };
