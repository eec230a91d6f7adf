"use strict";

const { AsyncResource } = require("node:async_hooks");
const { errorFrom } = require("../errors/errors");
const { sqlStateOf } = require("../errors/sql-state");
const { TransactionManager } = require("../handles/transaction-manager");
const { keyFrom } = require("../values/keys");

/** What becomes of a stage whose work was done. */
const RAN = ["ran", "begun"];

/**
 * A user's function that is called with a transaction. What it receives and throws stays here: the engine learns
 * how it ended, no more, and the caller gets the very value that was thrown.
 */
class Work {
  /** What the function resolved to. */
  result;
  /** Whether the function was called: the key's row was locked, and nobody else works on the request. */
  started = false;
  #work;
  #failed = false;
  #error;

  /**
   * @param {(manager: object, row?: unknown) => Promise<{ stored?: object, own?: object }>} work `row`: of the key
   *   that its transaction has inserted, as the engine answers it
   */
  constructor(work) {
    this.#work = work;
  }

  /** Calls the function. Never rejects: resolves to what the engine has to know. */
  async perform(manager, row) {
    this.#failed = false;
    this.started = true;
    try {
      this.result = await this.#work(manager, row);
      return { failed: false, ...this.result.stored };
    } catch (error) {
      this.#failed = true;
      this.#error = error;
      return { failed: true, code: sqlStateOf(error) };
    }
  }

  /**
   * The work for the engine to ask for. It asks outside of the caller: without this the caller's AsyncLocalStorage
   * contexts would be gone inside of the work.
   *
   * @param {object} [manager] what the work receives; without one, a manager of the engine's transaction
   */
  forEngine(manager) {
    // Not AsyncResource.bind(), which defines deprecated properties on each function that it makes.
    const contexts = new AsyncResource("MedusaIdempotencyWork");
    const perform = (native, row) =>
      this.perform(manager ?? new TransactionManager(native), row ?? undefined);
    return (native, row) => contexts.runInAsyncScope(perform, undefined, native, row);
  }

  /** Whether a failure is the work's own: what the user's function has thrown. */
  failedWith(error) {
    return this.#failed && this.#error === error;
  }

  /** The key that a stage was answered with: with the caller's own body, if this work ran. */
  keyFrom(answer) {
    const row = this.unwrap(answer);
    return keyFrom(row, RAN.includes(answer.outcome) ? this.result.own : {});
  }

  /** What the call that the work was done in resolves to, or what it failed with, thrown. */
  unwrap({ value, failure }) {
    if (failure) {
      throw failure.kind === "work" && this.#failed ? this.#error : errorFrom(failure);
    }
    return value;
  }
}

module.exports = { Work };
