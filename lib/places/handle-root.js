"use strict";

const { setTimeout: sleep } = require("node:timers/promises");
const { isSerializationFailure } = require("../errors/sql-state");
const { HandleTransaction } = require("./handle");
const { repeatedOnce } = require("./phases");
const { Pool, requireLevel } = require("./pool");

/** Milliseconds before a stage is repeated: each time twice as many, and up to as many again by chance. */
const SHORTEST_PAUSE = 10;
const LONGEST_PAUSE = 500;

/**
 * A library's root object: operations run on the pool, stages and phases in transactions that are opened through
 * the root.
 *
 * @implements {import(".").Place}
 */
class HandleRoot extends Pool {
  #context;
  #library;
  #root;

  /**
   * @param {import("./context").Context} context
   * @param {{ library: import("../handles").Library, root: object }} found
   */
  constructor(context, { library, root }) {
    super(context);
    this.#context = context;
    this.#library = library;
    this.#root = root;
  }

  stage(key, lease, work) {
    return this.#repeated((transaction) => transaction.stage(key, lease, work));
  }

  firstStage(request, lease, work) {
    return this.#repeated((transaction) => transaction.firstStage(request, lease, work));
  }

  /**
   * Repeats a stage after a serialization failure or a deadlock, as the engine repeats those on its own connections.
   */
  async #repeated(run) {
    const { semantics, settings } = this.#context;
    const most = semantics.repeatsThroughLibraries ? settings.maxRetries : 0;
    let pause = SHORTEST_PAUSE;
    for (let retries = 0; ; retries += 1) {
      try {
        return await this.#begin(run);
      } catch (error) {
        if (retries === most || !isSerializationFailure(error)) {
          throw error;
        }
      }
      await sleep(pause * (1 + Math.random()));
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  }

  #begin(run) {
    const library = this.#library;
    return this.#opened(undefined, (handle) =>
      run(new HandleTransaction(this.#context, { library, handle })),
    );
  }

  /**
   * Runs work in a transaction that the library opens. What the work has failed with is thrown, also where the
   * library makes something else of it: knex resolves if the callback has rolled back itself, or failed with
   * undefined.
   */
  async #opened(isolation, work) {
    let working;
    try {
      return await this.#library.begin(this.#root, isolation, (handle) => (working = work(handle)));
    } finally {
      await working;
    }
  }

  async transaction(work, options) {
    const { isolation } = options;
    requireLevel(isolation);
    const begin = (noted) =>
      this.#opened(isolation, async (handle) => {
        const result = await noted(handle);
        await this.#refuseAborted(handle);
        return result;
      });
    return repeatedOnce(begin, work, options);
  }

  /**
   * PostgreSQL answers the COMMIT of an aborted transaction with success and rolls back; any other statement it
   * refuses. A stage needs no such question: it stores its result.
   */
  async #refuseAborted(handle) {
    if (this.#library.isOpen(handle)) {
      await this.#library.query(handle, "SELECT 1", []);
    }
  }
}

module.exports = { HandleRoot };
