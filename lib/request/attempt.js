"use strict";

const { medusaError } = require("../errors/errors");
const { millisecondsFrom } = require("../values/durations");
const { newLease } = require("./attempt-leases");
const keys = require("./keys");

/**
 * One attempt at a request: its lifetime. The lease that it holds keeps other attempts away, from its beginning
 * until the request is finished or released.
 */
class Attempt {
  #context;
  #lease;
  #key;
  #began;

  /**
   * Called by services only.
   *
   * @param {import("../places/context").Context} context of the service
   * @param {object} key as the request was begun with
   * @param {import("./leases").Lease} lease
   */
  constructor(context, key, lease) {
    this.#context = context;
    this.#key = key;
    this.#lease = lease;
    this.#began = lease.began;
  }

  get key() {
    return this.#key;
  }

  get idempotency_key() {
    return this.#key.idempotency_key;
  }

  get began() {
    return this.#began;
  }

  keepAlive(max) {
    this.#lease.keepAlive(maxDurationOf(max ?? this.#context.settings.maxDuration));
    return this;
  }

  async finish(answer) {
    this.#key = await keys.finish(this.#context, this.#key, answer, this.#lease);
    return this.#key;
  }

  async release() {
    this.#key = await keys.release(this.#context, this.#key, this.#lease);
    return this.#key;
  }
}

function maxDurationOf(max) {
  const milliseconds = millisecondsFrom(max, (message) =>
    medusaError("invalid_argument", `keepAlive(max): max ${message}`),
  );
  if (milliseconds === 0) {
    throw medusaError("invalid_argument", "keepAlive(max): max has to be longer than 0 ms");
  }
  return milliseconds;
}

/**
 * Begins a request.
 *
 * @param {import("../places/context").Context} context
 * @param {object} request as requestOf() reads it
 */
async function begin(context, request) {
  const key = await context.semantics.initialize(context, request);
  return new Attempt(context, key, context.semantics.leaseOf(context, key, newLease));
}

/** The attempt that a key object came from or that the current request has made, if any. */
function attemptOf(context, key) {
  const lease = context.semantics.leaseOf(context, key, () => undefined);
  return lease && new Attempt(context, key, lease);
}

module.exports = { Attempt, attemptOf, begin };
