"use strict";

const { ask, askTogether } = require("../bridge/calls");
const { medusaError } = require("../errors/errors");
const { inOwnTransaction } = require("./phases");
const { Work } = require("./work");

/**
 * The pool: an operation is a transaction of its own, together with those of other callers; a stage or a phase is
 * one of the engine's.
 *
 * @implements {import(".").Place}
 */
class Pool {
  isInTransaction = false;
  #context;

  /** @param {import("./context").Context} context */
  constructor(context) {
    this.#context = context;
  }

  run(operation, lease, long) {
    return askTogether(this.#context.database().native, operation, lease, long);
  }

  async stage({ text, recoveryPoint }, lease, work) {
    const { native } = this.#context.database();
    const perform = work.forEngine();
    const answer = await lease.use((held) =>
      ask((to) => native.workStage(...to, text, held, recoveryPoint), perform),
    );
    return work.keyFrom(answer);
  }

  async firstStage(request, lease, work) {
    const { native } = this.#context.database();
    const perform = work.forEngine();
    const asked = JSON.stringify(request);
    const answer = await lease.use((held) =>
      ask((to) => native.firstStage(...to, asked, held), perform),
    );
    return work.keyFrom(answer);
  }

  phase(work, options) {
    return inOwnTransaction(() => this.transaction(work, options), options);
  }

  /** Runs a phase's work in a transaction of the place's kind. */
  async transaction(work, { isolation }) {
    requireLevel(isolation);
    const { native } = this.#context.database();
    const phase = new Work(async (manager) => ({ value: await work(manager) }));
    // Repeated once, as a transaction of TypeORM's is, and only at a given level.
    const begin = (to) => native.atomicPhase(...to, isolation, Boolean(isolation));
    const answer = await ask(begin, phase.forEngine());
    phase.unwrap(answer);
    return phase.result.value;
  }
}

function requireLevel(isolation) {
  if (isolation && typeof isolation !== "string") {
    throw medusaError("invalid_argument", "atomicPhase_: the isolation level has to be a string");
  }
}

module.exports = { Pool, requireLevel };
