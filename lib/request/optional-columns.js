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

/** Whether the table keeps the headers of answers. */
async function keepsHeaders(context) {
  return (await columnsSeen(context, ["response_headers"])).response_headers === true;
}

/** Has the table looked at again where a column is gone, and returns whether that is so. */
function isColumnGone(context, error) {
  const isGone = sqlStateOf(error) === UNDEFINED_COLUMN;
  if (isGone) {
    context.database().forgetColumns();
  }
  return isGone;
}

module.exports = { columnsSeen, isColumnGone, keepsHeaders };
