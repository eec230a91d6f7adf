"use strict";

// What the adapters of frameworks on Node's own request and response share.

const { capture } = require("./capture");
const { open } = require("./exchange");
const { sendAnswer } = require("./node-answers");

/**
 * A request as the core reads it.
 *
 * @param {import("node:http").IncomingMessage} req
 * @param {object} native the framework's own request
 * @param {{ body?: unknown, params?: unknown }} [parsed] what the framework has made of it
 * @returns {import("./request").HttpRequest}
 */
function requestOf(req, native, { body, params } = native) {
  // Routers shorten `url`.
  const [path, ...query] = (req.originalUrl ?? req.url).split("?");
  const { method, headers } = req;
  return { method, path, query: query.join("?"), params, body, headers, native };
}

/**
 * Runs a handler under its request's key, unless the request has an answer.
 *
 * @param {object} given
 * @param {object} given.service
 * @param {object} given.policy
 * @param {import("./request").HttpRequest} given.request
 * @param {import("node:http").IncomingMessage} given.req
 * @param {import("node:http").ServerResponse} given.res
 * @param {object} [given.given] headers that are there already, where the framework has them to itself
 * @param {() => unknown} given.run the handler
 * @param {(answer: object) => unknown} [given.send] sends an answer in place of the handler's
 */
async function protect({ service, policy, request, req, res, given, run, send = sendsTo(res) }) {
  const exchange = await open(service, policy, request);
  if (exchange.kind === "pass") {
    return run();
  }
  if (exchange.kind === "answer") {
    return send(exchange.answer);
  }
  const limit = policy.maxResponseBytes;
  return exchange.run(() => capture(req, res, { exchange, limit, given }, run));
}

function sendsTo(res) {
  return (answer) => sendAnswer(res, answer);
}

module.exports = { protect, requestOf };
