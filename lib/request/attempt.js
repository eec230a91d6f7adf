"use strict";

const { FINISHED } = require("./run-stages");

/**
 * One attempt at a request: its lifetime. The lease that it holds keeps other attempts away, from its beginning
 * until the request is finished or released.
 */
class Attempt {
  #calls;
  #lease;
  #key;
  #began;

  /**
   * Services make attempts; there is no use in making one by hand.
   *
   * @param {object} key as the request was begun with
   * @param {import("./leases").Lease} lease
   * @param {{ finish: Function, release: Function, durationOf: Function }} calls of the service
   */
  constructor(key, lease, calls) {
    this.#key = key;
    this.#lease = lease;
    this.#calls = calls;
    this.#began = key.recovery_point === FINISHED ? FINISHED : lease.beginning;
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
    this.#lease.keepAlive(this.#calls.durationOf(max));
    return this;
  }

  async finish(answer) {
    this.#key = await this.#calls.finish(this.#key, answer);
    return this.#key;
  }

  async release() {
    this.#key = await this.#calls.release(this.#key);
    return this.#key;
  }
}

module.exports = { Attempt };
