"use strict";

const { performance } = require("node:perf_hooks");
// Not the globals, which tests replace: a lease runs out on the database's clock.
const { clearTimeout, setTimeout } = require("node:timers");
const { setTimeout: sleep } = require("node:timers/promises");
const { ask } = require("../bridge/calls");
const { FINISHED } = require("./recovery-points");
const { currentRequest } = require("./request-context");

/** How much of a lease passes until it is renewed while its request is open. */
const RENEWED_AFTER = 1 / 3;
/** Leases of the process that nobody has used for so many times their duration are forgotten. */
const FORGOTTEN_AFTER = 10;

/** Milliseconds that a request waits for a lease that is being released: its predecessor's, or its own. */
const RELEASED_WITHIN = 500;

/** The lease that a key was answered with. */
const ofKeyObjects = new WeakMap();
/** The leases of calls that belong to no request, by table and key. */
const ofProcess = new Map();
/** Releases that are under way, by table and key. */
const releases = new Map();

/** How an attempt began, by what became of the call that began it. */
const BEGAN = {
  begun: "new",
  taken_over_released: "released",
  taken_over_interrupted: "interrupted",
  replayed: FINISHED,
};

/**
 * The lease that one attempt at a request has of its key: which attempt a call belongs to, and the timer that
 * renews the lease. Which calls may use it beside a renewal or a release, the engine decides.
 */
class Lease {
  /** How the attempt began, if it has begun the request. */
  began;
  #native;
  #duration;
  #table;
  #name;
  #usedAt = performance.now();
  #maxDuration;
  #overdue;
  /** Until when the lease is renewed, by the clock that nobody sets. */
  #until;
  #route;
  #timer;
  #due;

  /**
   * @param native the engine's half
   * @param {object} settings
   * @param {number} settings.duration milliseconds that the lease holds after its last sign of life
   * @param {number} settings.maxDuration milliseconds for which the middleware renews it at most
   * @param {string} settings.table tells the table of keys from others
   * @param {(route: { shown: string, name: string }, max: number) => void} settings.overdue is told of a
   *   request that has not ended by then
   */
  constructor(native, { duration, maxDuration, table, overdue }) {
    this.#native = native;
    this.#duration = duration;
    this.#maxDuration = maxDuration;
    this.#table = table;
    this.#overdue = overdue;
  }

  /** Whether the attempt has had the lease, and does not know that it has ended. */
  get isHeld() {
    return this.#native.isHeld;
  }

  /** Makes a call with the native lease. */
  use(call) {
    this.#usedAt = performance.now();
    return call(this.#native);
  }

  /**
   * Remembers that a key was answered to the attempt of this lease.
   *
   * @param {object} key
   * @param {string} [outcome] what became of the call, where it may have begun the attempt
   */
  keep(key, outcome) {
    this.began = BEGAN[outcome] ?? this.began;
    ofKeyObjects.set(key, this);
    this.#route ??= routeOfKey(key);
    const name = key.idempotency_key;
    this.#name = name;
    const request = currentRequest();
    const leases = leasesOf(request?.leases ?? ofProcess, this.#table);
    // The least recently used come first.
    leases.delete(name);
    if (request) {
      leases.set(name, this);
      request.keep(this, this.#maxDuration);
    } else if (key.recovery_point !== FINISHED) {
      this.#forgetOld(leases);
      leases.set(name, this);
    }
    return key;
  }

  /**
   * Renews the lease from time to time until it is released or its request is finished; or for so many
   * milliseconds, after which it has run out.
   */
  keepAlive(max = this.#maxDuration) {
    this.keepAliveUntil(performance.now() + max);
  }

  /**
   * @param {number} until by `performance.now()`
   * @param {{ shown: string, name: string }} [route] of the request, where more is known of it than its key says
   */
  keepAliveUntil(until, route = this.#route) {
    this.#until = until;
    this.#route = route;
    // A renewal that is due is not put off.
    const isDue = this.#timer !== undefined && this.#due <= until;
    if (this.isHeld && until > performance.now() && !isDue) {
      this.stopRenewing();
      this.#renewLater();
    }
  }

  stopRenewing() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #renewLater() {
    const now = performance.now();
    this.#due = Math.min(now + this.#duration * RENEWED_AFTER, this.#until);
    this.#timer = setTimeout(() => this.#tick(), this.#due - now).unref();
  }

  #tick() {
    this.#timer = undefined;
    if (!this.isHeld) {
      return;
    }
    if (performance.now() >= this.#until) {
      this.#overdue(this.#route);
      void quietly((to) => this.#native.expire(...to));
      return;
    }
    void quietly((to) => this.#native.renew(...to));
    this.#renewLater();
  }

  /**
   * Ends the lease, so that the request can be tried again at once. Whatever hinders it, the lease
   * runs out by itself. A server that has gone hinders it for long: that is tried on in the background, while
   * the request is answered.
   */
  async release() {
    this.stopRenewing();
    if (!this.isHeld) {
      return;
    }
    const ofTable = leasesOf(releases, this.#table);
    const release = quietly((to) => this.#native.release(...to));
    ofTable.set(this.#name, release);
    const forgotten = release.then(() => {
      if (ofTable.get(this.#name) === release) {
        ofTable.delete(this.#name);
      }
    });
    await notForLong(forgotten);
  }

  #forgetOld(leases) {
    const old = performance.now() - FORGOTTEN_AFTER * this.#duration;
    for (const [name, lease] of leases) {
      if (lease.#usedAt > old) {
        return;
      }
      leases.delete(name);
    }
  }
}

/** What fails is answered as data; a closed service has no leases to care for. */
async function quietly(change) {
  await ask(change).catch(() => {});
}

/** Calls that nobody's lease has to do with, as all are in mode "medusa". */
const NO_LEASE = {
  use: (call) => call(undefined),
  keep: (key) => key,
  began: undefined,
  keepAlive: () => {},
  stopRenewing: () => {},
  release: async () => {},
};

/** What an attempt has that has found its request finished. */
const FINISHED_ALREADY = { ...NO_LEASE, began: FINISHED };

/**
 * The lease that the current attempt has of a key, if it has one: the attempt that a key object came from, else
 * that of the current request, else that of the process.
 *
 * @param {string} table
 * @param {string} name the key's text
 * @param {unknown} key the key as it was given
 */
function leaseOf(table, name, key) {
  return ofKeyObjects.get(key) ?? leasesOf(currentRequest()?.leases ?? ofProcess, table).get(name);
}

/** The lease that the current request has of a key. Requests of one process have one each. */
function leaseOfRequest(table, name) {
  return currentRequest()?.leases.get(table)?.get(name);
}

/**
 * Resolves when no other attempt of this process is about to release a key; undefined if there is none. A client may
 * ask again as soon as it has its answer, which is before the lease of its failed request has ended. Not for
 * long: an attempt that fails a stage and begins again in one transaction still holds the row.
 *
 * Here and not in the engine, where a lease knows nothing of those of other attempts: only this module has the
 * leases of a process by their keys.
 */
function untilReleased(table, name) {
  const release = leasesOf(releases, table).get(name);
  return release && notForLong(release);
}

async function notForLong(release) {
  const waiting = new AbortController();
  const { signal } = waiting;
  await Promise.race([release, sleep(RELEASED_WITHIN, undefined, { signal }).catch(() => {})]);
  waiting.abort();
}

/** The route of a request of which nothing is known but its key. */
function routeOfKey({ request_method, request_path }) {
  const route = [request_method, request_path].filter(Boolean).join(" ") || "a request";
  return { shown: route, name: route };
}

function leasesOf(byTable, table) {
  let leases = byTable.get(table);
  if (!leases) {
    leases = new Map();
    byTable.set(table, leases);
  }
  return leases;
}

module.exports = { FINISHED_ALREADY, Lease, NO_LEASE, leaseOf, leaseOfRequest, untilReleased };
