"use strict";

const { medusaError } = require("../errors/errors");
const { transactionEnded } = require("../handles/flows");
const { TransactionManager } = require("../handles/transaction-manager");

/**
 * Tells what kind of handle a manager is, and where calls of a service bound to it run:
 *
 * - `{ own: true }`: in a transaction of this package's own;
 * - `{ foreign: true }`: in the transaction that a TypeORM EntityManager has open;
 * - `undefined`: on the pool, since there is no manager or it is TypeORM's root manager.
 *
 * @param {unknown} manager
 */
function placeOf(manager) {
  if (manager === undefined || manager === null) {
    return undefined;
  }
  if (TransactionManager.isTransactionManager(manager)) {
    return { own: true };
  }
  if (TransactionManager.isForeign(manager)) {
    throw medusaError(
      "invalid_argument",
      "the manager comes from another installation of medusa-idempotency-key than the service: both " +
        "have to load the same one (`npm ls medusa-idempotency-key` shows all of them)",
      "invalid_manager",
    );
  }
  if (!isEntityManager(manager)) {
    throw medusaError(
      "invalid_argument",
      "withTransaction() takes the manager that a stage or TypeORM's manager.transaction() hands to " +
        "its callback",
      "invalid_manager",
    );
  }
  const { queryRunner } = manager;
  if (!queryRunner) {
    return undefined;
  }
  if (queryRunner.isReleased || !queryRunner.isTransactionActive) {
    throw transactionEnded();
  }
  return { foreign: true };
}

/** Whether a manager is one of a transaction, even if that has ended. */
function isTransactional(manager) {
  const ofTypeOrm = opensTransactions(manager) && Boolean(manager.queryRunner);
  return ofTypeOrm || TransactionManager.isTransactionManager(manager);
}

/** Across copies and realms of TypeORM, as TypeORM itself tells it. */
function isEntityManager(value) {
  return typeof value === "object" && value["@instanceof"] === Symbol.for("EntityManager");
}

/** Whether transactions can be opened through a manager. */
function opensTransactions(manager) {
  return typeof manager === "object" && manager !== null && isEntityManager(manager);
}

module.exports = { isTransactional, opensTransactions, placeOf };
