"use strict";

const { AsyncLocalStorage } = require("node:async_hooks");
const { performance } = require("node:perf_hooks");
const { fingerprintOf } = require("./fingerprints");
const { onConnectionDestroyed, routeOf, watchConnection, whenEnded } = require("./responses");

const storage = new AsyncLocalStorage();

/** The HTTP request in which calls are made: its identity, and the leases that it holds. */
class RequestContext {
  /** By table, then by key. */
  leases = new Map();
  #request;
  #fingerprint;
  /** The leases that are kept alive, and until when. */
  #kept = new Map();
  #ended = false;

  /**
   * @param {{ method: string, url: string, originalUrl?: string, body?: unknown }} request
   * @param {string} [fingerprint] where another one than that of method, path and body tells it from others
   */
  constructor(request, fingerprint) {
    this.#request = request;
    this.#fingerprint = fingerprint;
  }

  /** Computed on first use: the body has been parsed by then. */
  get fingerprint() {
    this.#fingerprint ??= fingerprintOf(this.#request.method, this.path, this.#request.body);
    return this.#fingerprint;
  }

  /** The whole path without its query; routers see only a part of it. */
  get path() {
    const { url, originalUrl = url } = this.#request;
    return originalUrl.split("?", 1)[0];
  }

  /** `shown`: method and path, for messages; `name`: the same for all requests of a route. */
  get route() {
    const { method } = this.#request;
    return {
      shown: `${method} ${this.path}`,
      name: `${method} ${routeOf(this.#request) ?? this.path}`,
    };
  }

  /** Keeps a lease alive until the handler ends its response, for `max` milliseconds at most. */
  keep(lease, max) {
    if (this.#ended) {
      return;
    }
    if (!this.#kept.has(lease)) {
      this.#kept.set(lease, performance.now() + max);
    }
    lease.keepAliveUntil(this.#kept.get(lease), this.route);
  }

  /** Ends the request if the connection that its handler has destroyed is its own. */
  endOn(socket) {
    if (socket === this.#request.socket) {
      void this.end();
    }
  }

  /** Releases the leases that are still held, so that a failed request can be tried again at once. Never rejects. */
  async end() {
    const leases = this.#takeKept();
    await Promise.all(leases.map((lease) => lease.release()));
  }

  /** Lets the leases that are still held run out. */
  abandon() {
    this.#takeKept().forEach((lease) => lease.stopRenewing());
  }

  #takeKept() {
    this.#ended = true;
    const leases = [...this.#kept.keys()];
    this.#kept.clear();
    return leases;
  }
}

/** Does something in the asynchronous context of a request. */
function runInRequest(context, work) {
  return storage.run(context, work);
}

/** The request that the middleware has seen in this asynchronous context, if any. */
function currentRequest() {
  return storage.getStore();
}

onConnectionDestroyed((socket) => currentRequest()?.endOn(socket));

/**
 * Express middleware that lets the service know which request its calls are made for.
 *
 * @returns {(req: object, res: object, next: () => void) => void}
 */
function idempotencyMiddleware() {
  return (req, res, next) => {
    const context = new RequestContext(req);
    whenEnded(res, () => void context.end());
    watchConnection(req);
    storage.run(context, next);
  };
}

module.exports = { RequestContext, currentRequest, idempotencyMiddleware, runInRequest };
