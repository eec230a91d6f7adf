"use strict";

// The columns of a key, and what is stored in them.

const { isDeepStrictEqual } = require("node:util");
const { COLUMNS } = require("../../lib/values/keys");

const JSON_COLUMNS = ["request_params", "response_body"];
/** The server repeats in its message what is none of these. */
const QUOTED = ["created_at", "locked_at", "response_code"];
const TEXT_COLUMNS = COLUMNS.filter((name) => ![...QUOTED, ...JSON_COLUMNS].includes(name));

/** JSON as it is read again. */
function reread(value) {
  const text = JSON.stringify(value);
  return text === undefined ? null : JSON.parse(text);
}

/** Checks that what a call has resolved to is what is stored, and what it was given. */
async function expectStored(service, resolved, given) {
  const stored = await service.retrieve(resolved.idempotency_key);
  for (const column of COLUMNS) {
    const told = JSON_COLUMNS.includes(column) ? reread(resolved[column]) : resolved[column];
    const asked = given[column];
    const wanted =
      JSON_COLUMNS.includes(column) && Object.hasOwn(given, column) ? reread(asked) : told;
    // Not compared by Jest, which would print megabytes.
    if (!isDeepStrictEqual(stored[column], wanted) || !isDeepStrictEqual(stored[column], told)) {
      throw new Error(`${column} is not stored as it was given`);
    }
    // An empty id is generated, as Medusa does.
    if (
      typeof asked === "string" &&
      TEXT_COLUMNS.includes(column) &&
      `${column}${asked}` !== "id"
    ) {
      expect(stored[column] === asked.toWellFormed()).toBe(true);
    }
  }
}

module.exports = { COLUMNS, JSON_COLUMNS, TEXT_COLUMNS, expectStored };
