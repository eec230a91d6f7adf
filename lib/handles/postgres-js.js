"use strict";

const { abort } = require("./abort");
const { isolationLevel } = require("./isolation");
const { transactionEnded } = require("./refusals");
const { withoutValues } = require("./statement-errors");

// postgres.js 3. The handle is the `sql` of sql.begin() and of savepoint(); the root is the `sql` that has begin().

const openedBy = "postgres.js's sql.begin()";
/** Nothing tells a handle whose transaction has ended. */
const guardedBy = "handle";

/** Milliseconds that a statement waits for those before it in its transaction. */
const UNSENT_TIMEOUT = 30_000;

/** What postgres.js was told to connect with, by its options. */
const settings = new WeakMap();

/** @returns {Function | undefined} the `sql` of a transaction, even if it has ended */
function recognise(value) {
  return isSql(value) && typeof value.savepoint === "function" ? value : undefined;
}

/** @returns {Function | undefined} a `sql` through which transactions are opened */
function recogniseRoot(value) {
  return isSql(value) && typeof value.begin === "function" ? value : undefined;
}

function isSql(value) {
  return typeof value === "function" && typeof value.unsafe === "function" && "types" in value;
}

/** The guard tells. */
function isOpen() {
  return true;
}

async function query(sql, text, parameters, isFrequent = false) {
  try {
    // Copied, as the result is an array with properties of its own. What is prepared is kept only where the user's
    // own statements are.
    return [...(await sent(sql.unsafe(text, parameters, { prepare: isFrequent }), parameters))];
  } catch (error) {
    throw withoutValues(error);
  }
}

/**
 * A statement's result. In a transaction that has ended, postgres.js puts it in a queue that nobody looks at any more
 * if its connection is just busy with somebody else's. Whether that is so cannot be seen, but it is not sent.
 */
async function sent(statement, parameters) {
  let timer;
  const unsent = new Promise((_, reject) => {
    timer = setTimeout(() => {
      if (!statement.state) {
        // If its transaction goes on after all, it finds nothing: no key, and no number of a transaction.
        parameters.fill(null);
        reject(transactionEnded());
      }
    }, UNSENT_TIMEOUT);
  });
  try {
    return await Promise.race([statement, unsent]);
  } finally {
    clearTimeout(timer);
  }
}

/** What sql.begin() sends after its callback then finds no transaction, of which the server warns. */
async function rollBack(sql) {
  await abort((statement) => sql.unsafe(statement));
}

function begin(root, isolation, work) {
  const opening = isolation ? `ISOLATION LEVEL ${isolationLevel(isolation)}` : "";
  return root.begin(opening, work);
}

function dataSourceOf(value) {
  return recogniseRoot(value)?.options;
}

/** How the database of a root is reached. */
function connectionOf(value) {
  const options = dataSourceOf(value);
  if (!options) {
    return undefined;
  }
  if (!settings.has(options)) {
    settings.set(options, { connection: connectionFrom(options) });
  }
  return { source: "postgres.js", settings: settings.get(options) };
}

function connectionFrom({ host, port, user, pass, database, ssl, connection }) {
  return {
    // A pair of lists.
    hosts: [host].flat().map((name, index) => ({ host: name, port: Number([port].flat()[index]) })),
    user,
    password: pass ?? undefined,
    database,
    // Its words but "verify-full" mean TLS that is not verified.
    ssl:
      typeof ssl === "string" && ssl !== "verify-full" ? "no-verify" : ssl === "verify-full" || ssl,
    application_name: connection?.application_name,
  };
}

module.exports = {
  begin,
  connectionOf,
  dataSourceOf,
  guardedBy,
  isOpen,
  isSql,
  openedBy,
  query,
  recognise,
  recogniseRoot,
  rollBack,
};
