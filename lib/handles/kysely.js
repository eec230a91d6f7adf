"use strict";

const { abort } = require("./abort");
const { transactionEnded } = require("./refusals");
const { withoutValues } = require("./statement-errors");

// Kysely 0.29. The handle is the `trx` of db.transaction().execute() or of db.startTransaction().execute(), which is
// "controlled"; the root is the Kysely itself.

const openedBy = "Kysely's db.transaction().execute()";
/** A transaction refuses queries once its COMMIT has been answered, not once it has been sent. */
const guardedBy = "handle";

/** The words in which a transaction that has ended refuses a query: there is no other sign. */
const ENDED = /^Transaction is already/;

/** What Kysely asks of a query besides its text: what kind it is, for plugins and loggers, and what it is called. */
const QUERY = { query: { kind: "RawNode" }, queryId: { queryId: "medusa-idempotency-key" } };

/**
 * @param {unknown} value
 * @returns {object | undefined} the handle, even if its transaction has ended
 */
function recognise(value) {
  return isKysely(value) && value.isTransaction ? value : undefined;
}

/** @returns {object | undefined} what begin() takes */
function recogniseRoot(value) {
  return isKysely(value) && !value.isTransaction ? value : undefined;
}

function isKysely(value) {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof value.executeQuery === "function" &&
    typeof value.withoutPlugins === "function" &&
    typeof value.isTransaction === "boolean"
  );
}

/** Only a controlled one can be asked; any other refuses a query itself. */
function isOpen(trx) {
  return !trx.isCommitted && !trx.isRolledBack;
}

/**
 * @param {object} trx
 * @param {string} sql
 * @param {unknown[]} parameters
 * @returns {Promise<object[]>} the rows as the dialect's driver gives them: no plugin renames their columns
 */
async function query(trx, sql, parameters) {
  try {
    const { rows } = await trx.withoutPlugins().executeQuery({ ...QUERY, sql, parameters });
    return rows;
  } catch (error) {
    if (ENDED.test(error?.message)) {
      throw transactionEnded();
    }
    withoutValues(error);
    throw error;
  }
}

/** A controlled one can be rolled back by whoever has it. */
async function rollBack(trx) {
  if (typeof trx.rollback === "function") {
    await trx.rollback().execute();
    return;
  }
  await abort((sql) => query(trx, sql, []));
}

/**
 * Opens a transaction and commits it when the work has resolved; what the work rejects with rolls it back.
 *
 * @param {object} db
 * @param {string | undefined} isolation
 * @param {(trx: object) => Promise<unknown>} work
 */
function begin(db, isolation, work) {
  const transaction = db.transaction();
  const opening = isolation ? transaction.setIsolationLevel(isolation.toLowerCase()) : transaction;
  return opening.execute(work);
}

module.exports = {
  begin,
  guardedBy,
  isOpen,
  openedBy,
  query,
  recognise,
  recogniseRoot,
  rollBack,
};
