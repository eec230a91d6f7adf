"use strict";

const pg = require("./pg");

// Sequelize 6. The handle is the Transaction that sequelize.transaction() hands to its callback or resolves to; the
// root is the Sequelize itself.

const openedBy = "Sequelize's sequelize.transaction()";

/**
 * @param {unknown} value
 * @returns {object | undefined} the handle, even if its transaction has ended
 */
function recognise(value) {
  const isTransaction =
    typeof value === "object" &&
    value !== null &&
    typeof value.prepareEnvironment === "function" &&
    Array.isArray(value.savepoints) &&
    Boolean(value.sequelize);
  return isTransaction ? value : undefined;
}

/** @returns {object | undefined} what begin() takes */
function recogniseRoot(value) {
  const isSequelize =
    typeof value === "object" &&
    value !== null &&
    typeof value.transaction === "function" &&
    typeof value.getQueryInterface === "function" &&
    typeof value.getDialect === "function";
  return isSequelize ? value : undefined;
}

/** A nested one ends with the one that it is in, if not before. */
function isOpen(transaction) {
  const { connection, finished, parent } = transaction;
  return Boolean(connection) && finished === undefined && (!parent || isOpen(parent));
}

/**
 * Asks the transaction's own connection: sequelize.query() has a syntax of its own in the SQL (`$$`).
 *
 * @param {object} transaction
 * @param {string} sql
 * @param {unknown[]} parameters
 * @returns {Promise<object[]>} the rows as `pg` gives them
 */
function query({ connection }, sql, parameters) {
  return pg.query(connection, sql, parameters);
}

async function rollBack(transaction) {
  await transaction.rollback();
}

/**
 * Opens a transaction and commits it when the work has resolved; what the work rejects with rolls it back.
 *
 * @param {object} sequelize
 * @param {string | undefined} isolation
 * @param {(transaction: object) => Promise<unknown>} work
 */
function begin(sequelize, isolation, work) {
  const options = isolation ? { isolationLevel: isolation.toUpperCase() } : {};
  return sequelize.transaction(options, work);
}

module.exports = {
  begin,
  isOpen,
  openedBy,
  query,
  recognise,
  recogniseRoot,
  rollBack,
};
