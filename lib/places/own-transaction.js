"use strict";

const { ask, askIn } = require("../bridge/calls");
const own = require("../handles/own");
const { inCallersTransaction } = require("./phases");

/**
 * A transaction of the engine's, which a stage or a phase of another service has open.
 *
 * @implements {import(".").Place}
 */
class OwnTransaction {
  isInTransaction = true;
  #manager;

  /** @param {import("../handles/transaction-manager").TransactionManager} manager */
  constructor(manager) {
    this.#manager = manager;
  }

  run(operation, lease, long) {
    return askIn(own.operationsIn(this.#manager), operation, lease, long);
  }

  async stage({ text, recoveryPoint }, lease, work) {
    const native = own.operationsIn(this.#manager);
    const perform = work.forEngine(this.#manager);
    const answer = await lease.use((held) =>
      ask((to) => native.workStage(...to, text, held, recoveryPoint), perform),
    );
    return work.keyFrom(answer);
  }

  async phase(work, options) {
    const manager = this.#manager;
    const rollBack = async () => {
      if (own.isOpen(manager)) {
        await own.rollBack(manager);
      }
    };
    return inCallersTransaction(async () => work(manager), options, rollBack);
  }
}

module.exports = { OwnTransaction };
