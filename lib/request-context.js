"use strict";

const { AsyncLocalStorage } = require("node:async_hooks");
const { fingerprintOf } = require("./fingerprints");

const storage = new AsyncLocalStorage();

/** The HTTP request that calls are made for: its identity, and the leases that it holds. */
class RequestContext {
  /** By table and key. */
  leases = new Map();
  #request;
  #fingerprint;
  #kept = new Set();
  #closed = false;

  constructor(request) {
    this.#request = request;
  }

  /** Taken when it is first asked for: the body is parsed by then. */
  get fingerprint() {
    const { method, url, originalUrl = url, body } = this.#request;
    this.#fingerprint ??= fingerprintOf(method, originalUrl.split("?", 1)[0], body);
    return this.#fingerprint;
  }

  /** Keeps a lease alive while the response is open. */
  keep(lease) {
    if (!this.#closed) {
      this.#kept.add(lease);
      lease.keepAlive();
    }
  }

  /** Releases what is not finished, so that a failed request can be tried again at once. */
  close() {
    this.#closed = true;
    for (const lease of this.#kept) {
      void lease.release();
    }
    this.#kept.clear();
  }
}

/** The request that is being answered, where the middleware knows of it. */
function currentRequest() {
  return storage.getStore();
}

/**
 * Express middleware that lets the service know which request its calls are made for.
 *
 * @returns {(req: object, res: object, next: () => void) => void}
 */
function idempotencyMiddleware() {
  return (req, res, next) => {
    const context = new RequestContext(req);
    if (res.closed) {
      // The client has gone while another middleware was at work.
      context.close();
    } else {
      res.once("close", () => context.close());
    }
    storage.run(context, next);
  };
}

module.exports = { currentRequest, idempotencyMiddleware };
