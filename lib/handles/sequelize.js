"use strict";

const pg = require("./pg");

// Sequelize 6. The handle is the Transaction that sequelize.transaction() hands to its callback or resolves to; the
// root is the Sequelize itself.

const openedBy = "Sequelize's sequelize.transaction()";

/** What Sequelize was told to connect with: the same object for one as long as it lives. */
const settings = new WeakMap();

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

function dataSourceOf(value) {
  return recogniseRoot(value);
}

/** How the database of a Sequelize is reached: with replication, the one that is written to. */
function connectionOf(value) {
  const sequelize = recogniseRoot(value);
  if (sequelize?.getDialect() !== "postgres") {
    return undefined;
  }
  if (!settings.has(sequelize)) {
    settings.set(sequelize, { connection: settingsFrom(sequelize) });
  }
  return { source: "Sequelize", settings: settings.get(sequelize) };
}

/** As Sequelize passes them on to `pg`. */
function settingsFrom({ config, options }) {
  const { host, port, username, password, database, dialectOptions } = {
    ...config,
    ...options.replication?.write,
  };
  const { ssl, application_name, options: serverOptions } = dialectOptions ?? {};
  return {
    host,
    port,
    user: username,
    password,
    database,
    ssl,
    application_name,
    options: serverOptions,
  };
}

module.exports = {
  begin,
  connectionOf,
  dataSourceOf,
  isOpen,
  openedBy,
  query,
  recognise,
  recogniseRoot,
  rollBack,
};
