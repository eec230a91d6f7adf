"use strict";

const { isolationLevel } = require("./isolation");
const { withoutValues } = require("./statement-errors");

// pg 8, and what is made like it. The handle is a client, on which its user has sent BEGIN; the root is a pool.

const openedBy = "BEGIN on a client of pg";
/** A client is a connection: it serves one transaction after the other. */
const guardedBy = "binding";

/** Status of the connection as the server has told it last: no transaction is open. */
const IDLE = "I";

/** The statement of this package's that each client was given last. */
const last = new WeakMap();

/** What `pg` was told to connect with, by pool: the same object for a pool as long as it lives. */
const settings = new WeakMap();

/** @returns {object | undefined} a client, whether a transaction is open on it or not */
function recognise(value) {
  return isClient(value) ? value : undefined;
}

function isClient(value) {
  return (
    typeof value?.query === "function" &&
    "processID" in value &&
    typeof value.escapeLiteral === "function"
  );
}

/** @returns {object | undefined} a pool */
function recogniseRoot(value) {
  return isPool(value) ? value : undefined;
}

function isPool(value) {
  return (
    typeof value?.query === "function" &&
    typeof value.connect === "function" &&
    typeof value.totalCount === "number"
  );
}

/**
 * False if the server has said that no transaction is open. Otherwise the guard tells: the status is that of the last
 * statement that has ended, in whosever transaction; and it is there from pg 8.21 on.
 */
function isOpen(client) {
  return client.getTransactionStatus?.() !== IDLE;
}

async function query(client, sql, parameters) {
  try {
    return (await inTurn(client, () => client.query(sql, parameters))).rows;
  } catch (error) {
    throw withoutValues(error);
  }
}

/** Calls may be made at once: `pg` 8 warns of a second statement while the first is running, and `pg` 9 refuses it. */
function inTurn(client, run) {
  const turn = (last.get(client) ?? Promise.resolve()).then(run);
  last.set(
    client,
    turn.catch(() => {}),
  );
  return turn;
}

async function rollBack(client) {
  await client.query("ROLLBACK");
}

/** Opens a transaction on a client of the pool, and commits it when the work has resolved. */
async function begin(pool, isolation, work) {
  const opening = isolation ? `BEGIN ISOLATION LEVEL ${isolationLevel(isolation)}` : "BEGIN";
  const client = await pool.connect();
  let broken;
  // Without a listener a connection that breaks would end the process; the next statement tells of it.
  const onError = (error) => (broken = error);
  client.on("error", onError);
  try {
    await client.query(opening);
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    // A connection that cannot roll back is of no use to others.
    await client.query("ROLLBACK").catch((failure) => (broken ??= failure));
    throw error;
  } finally {
    client.off("error", onError);
    client.release(broken);
  }
}

function dataSourceOf(value) {
  return recogniseRoot(value);
}

/** How the database of a pool is reached. */
function connectionOf(value) {
  if (!isPool(value) || typeof value.options !== "object") {
    return undefined;
  }
  const { options } = value;
  if (!settings.has(value)) {
    // `pg` hides the password from enumeration.
    settings.set(value, { connection: { ...options, password: options.password } });
  }
  return { source: "the pool of pg", settings: settings.get(value) };
}

module.exports = {
  begin,
  connectionOf,
  dataSourceOf,
  guardedBy,
  isClient,
  isOpen,
  isPool,
  openedBy,
  query,
  recognise,
  recogniseRoot,
  rollBack,
};
