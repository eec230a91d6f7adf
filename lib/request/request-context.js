"use strict";

const { AsyncLocalStorage } = require("node:async_hooks");
const { performance } = require("node:perf_hooks");
const { fingerprintOf } = require("./fingerprints");
const { routeOf, whenDestroyed, whenEnded } = require("./responses");

const storage = new AsyncLocalStorage();

/** The HTTP request that calls are made for: its identity, and the leases that it holds. */
class RequestContext {
  /** By table and key. */
  leases = new Map();
  #request;
  #fingerprint;
  /** The leases that are kept alive, each until when. */
  #kept = new Map();
  #ended = false;

  constructor(request) {
    this.#request = request;
  }

  /** Taken when it is first asked for: the body is parsed by then. */
  get fingerprint() {
    this.#fingerprint ??= fingerprintOf(this.#request.method, this.path, this.#request.body);
    return this.#fingerprint;
  }

  /** The whole path, where routers see only a part; without its query. */
  get path() {
    const { url, originalUrl = url } = this.#request;
    return originalUrl.split("?", 1)[0];
  }

  /** Method and path for people, and what is the same for all requests of a route. */
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

  /** The handler has ended its response, if the connection that it has destroyed is its own. */
  endOn(socket) {
    if (socket === this.#request.socket) {
      this.end();
    }
  }

  /** Releases what is not finished, so that a failed request can be tried again at once. */
  end() {
    this.#ended = true;
    for (const lease of this.#kept.keys()) {
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
    whenEnded(res, () => context.end());
    whenDestroyed(req, (socket) => currentRequest()?.endOn(socket));
    storage.run(context, next);
  };
}

module.exports = { currentRequest, idempotencyMiddleware };
