"use strict";

const { TransactionManager } = require("./transaction-manager");

// The transactions that the engine holds itself: those of stages and of atomicPhase_. It runs its statements in
// them without JavaScript, so that there is no query() here but the native operations on keys.

const openedBy = "a stage";

/** @returns {TransactionManager | undefined} the handle, even if its transaction has ended */
function recognise(value) {
  return TransactionManager.isTransactionManager(value) ? value : undefined;
}

/** Whether a value is a manager of another installation of this package, whose native half is of no use here. */
function isOfOtherInstallation(value) {
  return TransactionManager.isForeign(value);
}

function isOpen(manager) {
  return manager.queryRunner.isTransactionActive;
}

function rollBack(manager) {
  return manager.queryRunner.rollbackTransaction();
}

/** The native transaction, which has the operations on keys. */
function operationsIn(manager) {
  return TransactionManager.scopeOf(manager);
}

module.exports = {
  isOfOtherInstallation,
  isOpen,
  openedBy,
  operationsIn,
  recognise,
  rollBack,
};
