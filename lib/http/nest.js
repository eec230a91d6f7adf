"use strict";

const { replayReply, sendReply } = require("./fastify-replies");
const { protect, requestOf } = require("./node");
const { sendAnswer } = require("./node-answers");
const { policyFrom } = require("./policy");
const { policyFor } = require("./setup");
const { stagedHandling } = require("./staged");

/** The options of @Idempotent(), by the handler or the class that it decorates. */
const decorated = new WeakMap();

/** Nest interceptor that keeps the answers of handlers, and replays them. On Express and on Fastify. */
class IdempotencyInterceptor {
  #service;
  #options;
  #onlyDecorated;
  /** By the options of a decorator. */
  #policies = new Map();

  /**
   * @param {import("../service").IdempotencyKeyService} service
   * @param {object} [options] as policyFrom() reads them; and `onlyDecorated`: whether handlers without
   *   `@Idempotent()` pass by
   */
  constructor(service, { onlyDecorated = false, ...options } = {}) {
    this.#service = service;
    this.#options = options;
    this.#onlyDecorated = Boolean(onlyDecorated);
    this.#policies.set(undefined, policyFor(service, options));
  }

  /** Called by Nest. */
  async intercept(context, next) {
    const given = decorated.get(context.getHandler()) ?? decorated.get(context.getClass());
    const passesBy = given === false || (this.#onlyDecorated && !given);
    if (passesBy || context.getType() !== "http") {
      return next.handle();
    }
    const http = context.switchToHttp();
    const [native, response] = [http.getRequest(), http.getResponse()];
    const { replay, ...sides } = platformOf(native, response);
    return protect({
      ...sides,
      service: this.#service,
      policy: this.#policyFor(given),
      run: () => next.handle(),
      send(answer) {
        replay(answer);
        // The request has its answer: Nest is not to send one.
        return new Promise(() => {});
      },
    });
  }

  #policyFor(given) {
    if (!this.#policies.has(given)) {
      this.#policies.set(given, policyFrom({ ...this.#options, ...given }));
    }
    return this.#policies.get(given);
  }
}

/**
 * Decorates a handler or a controller.
 *
 * @param {object | false} [options] in place of the interceptor's; false: what is decorated passes by
 */
function Idempotent(options = {}) {
  // Refuses wrong ones where they are written.
  policyFrom(options || {});
  return (target, _name, descriptor) => {
    decorated.set(descriptor ? descriptor.value : target, options);
  };
}

/**
 * What a handler calls with the request and the response that it has injected; the work gets the transaction that
 * stores its answer.
 *
 * @param {import("../service").IdempotencyKeyService} service
 * @param {Function | Record<string, Function>} work `(tx, request, attempt)`, or stages of it
 * @param {object} [options] as policyFrom() reads them
 */
function staged(service, work, options) {
  const handle = stagedHandling(service, work, options);
  return async (native, response) => {
    const { request, respond } = platformOf(native, response);
    respond(await handle(native, request));
  };
}

/** The request and the response of Node, on the platform that the application is on. */
function platformOf(native, response) {
  return response.raw
    ? {
        request: requestOf(native.raw, native),
        req: native.raw,
        res: response.raw,
        given: response.getHeaders(),
        replay: (answer) => replayReply(response, answer),
        respond: (answer) => void sendReply(response, answer),
      }
    : {
        request: requestOf(native, native),
        req: native,
        res: response,
        replay: (answer) => sendAnswer(response, answer),
        respond: (answer) => sendAnswer(response, answer),
      };
}

module.exports = { Idempotent, IdempotencyInterceptor, staged };
