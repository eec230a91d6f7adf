"use strict";

const knex = require("./knex");
const kysely = require("./kysely");
const { transactionEnded } = require("./refusals");

// MikroORM 6 and 7. The handle is an EntityManager that has a transaction: a knex's in version 6, a controlled one of
// Kysely's in version 7. The root is one that has none, such as `orm.em`.

const openedBy = "MikroORM's em.transactional()";

/** What MikroORM connects with, by driver: the same object for a driver as long as it lives. */
const settings = new WeakMap();

/**
 * @param {unknown} value
 * @returns {object | undefined} the handle, even if its transaction has ended
 */
function recognise(value) {
  return isEntityManager(value) && value.getTransactionContext() ? value : undefined;
}

/** @returns {object | undefined} what begin() takes: a transaction, too, in which it makes a savepoint */
function recogniseRoot(value) {
  return isEntityManager(value) ? value : undefined;
}

function isEntityManager(value) {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof value.getTransactionContext === "function" &&
    typeof value.isInTransaction === "function" &&
    typeof value.transactional === "function"
  );
}

/** After its end the EntityManager of em.transactional() has its transaction still. */
function isOpen(em) {
  const context = em.getTransactionContext();
  return context !== undefined && libraryOf(context).isOpen(context);
}

/** @returns {import(".").Library} that has opened a transaction for MikroORM */
function libraryOf(context) {
  return knex.recognise(context) ? knex : kysely;
}

/**
 * Asks past MikroORM, which has placeholders and loggers of its own.
 *
 * @param {object} em
 * @param {string} sql
 * @param {unknown[]} parameters
 * @returns {Promise<object[]>} the rows, with times as text
 */
async function query(em, sql, parameters) {
  const context = em.getTransactionContext();
  if (!context) {
    throw transactionEnded();
  }
  return libraryOf(context).query(context, sql, parameters);
}

/** Unlike em.rollback(), leaves the EntityManager its transaction, which has ended then. */
async function rollBack(em) {
  const context = em.getTransactionContext();
  await libraryOf(context).rollBack(context);
}

/**
 * Opens a transaction and commits it when the work has resolved and its entities are written; what the work rejects
 * with rolls it back.
 *
 * @param {object} root
 * @param {string | undefined} isolation
 * @param {(em: object) => Promise<unknown>} work
 */
function begin(root, isolation, work) {
  return root.transactional(work, { isolationLevel: isolation?.toLowerCase() });
}

/** What the EntityManagers of one MikroORM have in common. */
function dataSourceOf(value) {
  return isEntityManager(value) && !recognise(value) ? value.getDriver() : undefined;
}

/** How the database of an EntityManager is reached, unless MikroORM was given a driver that is open already. */
function connectionOf(value) {
  const driver = dataSourceOf(value);
  if (!driver) {
    return undefined;
  }
  // Version 6.
  if (typeof value.getKnex === "function") {
    return knex.connectionOf(value.getKnex());
  }
  const given = value.config.get("driverOptions") ?? {};
  if (typeof given === "function" || "createDriver" in given || kysely.recogniseRoot(given)) {
    return undefined;
  }
  if (!settings.has(driver)) {
    const connection = { ...value.getConnection().getConnectionOptions(), ...given };
    settings.set(driver, { connection });
  }
  return { source: "MikroORM", settings: settings.get(driver) };
}

/** What MikroORM's users pass in place of an EntityManager. */
function mistake(value) {
  return isEntityManager(value?.em)
    ? "a MikroORM: pass the EntityManager that orm.em.transactional() hands to its callback"
    : undefined;
}

module.exports = {
  begin,
  connectionOf,
  dataSourceOf,
  isOpen,
  mistake,
  openedBy,
  query,
  recognise,
  recogniseRoot,
  rollBack,
};
