"use strict";

const { errorFrom } = require("../errors/errors");
const { sqlStateOf } = require("../errors/sql-state");
const { abort } = require("./abort");
const { transactionEnded } = require("./refusals");

// Prisma 6 and 7. The handle is the client that prisma.$transaction() hands to its callback, the root is a
// PrismaClient, also an extended one.

const openedBy = "Prisma's prisma.$transaction()";

/** Only a query tells whether a transaction goes on. */
const guardedBy = "handle";

/** Prisma's code for a query in a transaction that has ended. */
const TRANSACTION_CLOSED = "P2028";

/**
 * @param {unknown} value
 * @returns {object | undefined} the handle, even if its transaction has ended
 */
function recognise(value) {
  return isClient(value) && typeof value.$connect !== "function" ? value : undefined;
}

/** @returns {object | undefined} what begin() takes */
function recogniseRoot(value) {
  return isClient(value) && typeof value.$connect === "function" ? value : undefined;
}

function isClient(value) {
  return typeof value === "object" && value !== null && typeof value.$queryRawUnsafe === "function";
}

/** The guard tells. */
function isOpen() {
  return true;
}

/**
 * @param {object} tx
 * @param {string} sql
 * @param {unknown[]} parameters
 * @returns {Promise<object[]>} the rows
 */
async function query(tx, sql, parameters) {
  try {
    return await tx.$queryRawUnsafe(sql, ...parameters);
  } catch (error) {
    throw error?.code === TRANSACTION_CLOSED ? transactionEnded() : withSqlState(error);
  }
}

/**
 * The error of the server's that Prisma reports in its own: its `code` is Prisma's, its message shows the line of
 * source that has called it.
 */
function withSqlState(error) {
  const code = sqlStateOf(error);
  if (!code) {
    return error;
  }
  const { originalMessage, message, table, constraint, column } = causeOf(error) ?? error.meta;
  return errorFrom({
    kind: "database",
    code,
    reason: originalMessage ?? message,
    table,
    constraint: constraint?.index,
    column,
  });
}

/** Prisma has no call for it. */
async function rollBack(tx) {
  await abort((sql) => tx.$executeRawUnsafe(sql));
}

/**
 * Opens a transaction and commits it when the work has resolved; what the work rejects with rolls it back. The
 * client's own `transactionOptions` say how long it may take.
 *
 * @param {object} prisma
 * @param {string | undefined} isolation
 * @param {(tx: object) => Promise<unknown>} work
 */
function begin(prisma, isolation, work) {
  return prisma.$transaction(work, isolation && { isolationLevel: nameOf(isolation) });
}

/** `REPEATABLE READ` is `RepeatableRead`. */
function nameOf(isolation) {
  const words = isolation.toLowerCase().split(" ");
  return words.map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join("");
}

/** What the adapter has passed on of the server's error; without an adapter the error itself has it. */
function causeOf(error) {
  return error?.meta?.driverAdapterError?.cause;
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
