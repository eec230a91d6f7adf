"use strict";

const pg = require("./pg");
const { transactionEnded } = require("./refusals");

// knex 3. The handle is the `trx` of knex.transaction(); the root is knex itself.

const openedBy = "knex.transaction()";

/** What knex was told to connect with, by client: the same object for a client as long as it lives. */
const settings = new WeakMap();

/**
 * @param {unknown} value
 * @returns {Function | undefined} the handle, even if its transaction has ended
 */
function recognise(value) {
  return isKnex(value) && value.isTransaction ? value : undefined;
}

/** @returns {Function | undefined} what begin() takes */
function recogniseRoot(value) {
  return isKnex(value) && !value.isTransaction ? value : undefined;
}

/** A knex is a function; `trx.isTransaction` is not set on knex itself. */
function isKnex(value) {
  return (
    typeof value === "function" &&
    typeof value.raw === "function" &&
    typeof value.transaction === "function" &&
    typeof value.client?.acquireConnection === "function"
  );
}

function isOpen(trx) {
  return !trx.isCompleted();
}

/**
 * Asks the transaction's own connection, since `trx.raw()` has other placeholders than the server, and passes the
 * rows through what the user has set to rename columns (`postProcessResponse`).
 *
 * @param {Function} trx
 * @param {string} sql
 * @param {unknown[]} parameters
 * @returns {Promise<object[]>} the rows as `pg` gives them
 */
async function query(trx, sql, parameters) {
  const connection = await trx.client.acquireConnection();
  // It may have been ended while this waited; afterwards the connection is somebody else's.
  if (!isOpen(trx)) {
    throw transactionEnded();
  }
  return pg.query(connection, sql, parameters);
}

/** Without an error the promise of knex.transaction() would resolve, whatever its callback rejects with. */
async function rollBack(trx, error) {
  await trx.rollback(error);
}

/**
 * Opens a transaction and commits it when the work has resolved; what the work rejects with rolls it back.
 *
 * @param {Function} knex
 * @param {string | undefined} isolation
 * @param {(trx: Function) => Promise<unknown>} work
 */
function begin(knex, isolation, work) {
  return knex.transaction(work, { isolationLevel: isolation?.toLowerCase() });
}

/** What the knexes of one pool have in common. */
function dataSourceOf(value) {
  return recogniseRoot(value)?.client;
}

/** How the database of a knex is reached, unless a function tells knex. */
function connectionOf(value) {
  const client = dataSourceOf(value);
  const connection = client?.config.connection;
  if (!connection || typeof connection === "function") {
    return undefined;
  }
  if (!settings.has(client)) {
    settings.set(client, { connection: settingsFrom(connection) });
  }
  return { source: "knex", settings: settings.get(client) };
}

/** knex hides the password from enumeration. */
function settingsFrom(connection) {
  return typeof connection === "string"
    ? { connectionString: connection }
    : { ...connection, password: connection.password };
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
