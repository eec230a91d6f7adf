"use strict";

const { AsyncResource } = require("node:async_hooks");
const { codeOf, errorFrom } = require("../errors/errors");
const { keyFrom } = require("../values/keys");
const { TransactionManager } = require("../handles/transaction-manager");

/**
 * Work that the engine calls with a transaction. What it receives and fails with stays here: the
 * engine learns how it ended, no more, and the caller gets the very value that was thrown.
 */
class Work {
  result;
  /** Whether the engine has called it: the key's row was locked, and it was the caller's turn. */
  started = false;
  #failed = false;
  #error;

  /** @param manager what the work receives; without one, a manager of the engine's transaction */
  constructor(manager, work) {
    this.perform = async (native) => {
      this.#failed = false;
      this.started = true;
      try {
        this.result = await work(manager ?? new TransactionManager(native));
        return { failed: false, ...this.result.outcome };
      } catch (error) {
        this.#failed = true;
        this.#error = error;
        return { failed: true, code: codeOf(error) };
      }
    };
  }

  /**
   * The work for the engine to call. It calls from a thread of its own: without this the caller's
   * AsyncLocalStorage contexts would be gone inside of the work.
   */
  forEngine() {
    return AsyncResource.bind(this.perform);
  }

  /** Whether a failure is the work's own: what the user's function has thrown. */
  failedWith(error) {
    return this.#failed && this.#error === error;
  }

  /** The key that a stage was answered with: with the caller's own body, if this work ran. */
  keyFrom(answer) {
    const { key, ran } = this.unwrap(answer);
    return keyFrom(key, ran ? this.result.own : {});
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
