"use strict";

// The columns that Medusa's table does not have, as requests use them.

const { sqlStateOf } = require("../errors/sql-state");

/** SQLSTATE: an optional column has been dropped under a running process. */
const UNDEFINED_COLUMN = "42703";

/**
 * Which of the optional columns the table has, as far as it is known.
 *
 * @param {import("../places/context").Context} context
 * @param {("request_fingerprint" | "response_headers")[]} wanted
 */
async function columnsSeen(context, wanted) {
  try {
    return await context.database().optionalColumns(wanted);
  } catch (error) {
    // A transaction that somebody holds goes on also where no other connection can be had.
    if (context.place.isInTransaction) {
      return {};
    }
    throw error;
  }
}

/** The same, where nobody has to be asked for it and waited for; else undefined. */
function columnsKnown(context, wanted) {
  try {
    return wanted.length === 0 ? {} : context.database().columnsKnown(wanted);
  } catch {
    // What columnsSeen() fails with, too.
    return undefined;
  }
}

/** Whether the table keeps the headers of answers. */
async function keepsHeaders(context) {
  const wanted = ["response_headers"];
  const has = columnsKnown(context, wanted) ?? (await columnsSeen(context, wanted));
  return has.response_headers === true;
}

/** Has the table looked at again where a column is gone, and returns whether that is so. */
function isColumnGone(context, error) {
  const isGone = sqlStateOf(error) === UNDEFINED_COLUMN;
  if (isGone) {
    context.database().forgetColumns();
  }
  return isGone;
}

module.exports = { columnsKnown, columnsSeen, isColumnGone, keepsHeaders };
