"use strict";

const { abort } = require("./abort");
const pg = require("./pg");
const postgresJs = require("./postgres-js");

// Drizzle over pg and over postgres.js. The handle is the `tx` of db.transaction(), the root is the `db`. Statements
// go to the driver's own client: Drizzle's execute() takes no SQL with `$1`, and its errors contain the parameters.

const openedBy = "Drizzle's db.transaction()";
/** Each transaction has a `tx` of its own; an ended one runs statements all the same. */
const guardedBy = "handle";

/** @returns {object | undefined} the `tx`, even if its transaction has ended */
function recognise(value) {
  return isDatabase(value) && typeof value.rollback === "function" ? value : undefined;
}

/** @returns {object | undefined} the `db` */
function recogniseRoot(value) {
  return isDatabase(value) && typeof value.rollback !== "function" ? value : undefined;
}

/** Over one of the drivers that are known here. */
function isDatabase(value) {
  return looksLikeDrizzle(value) && driverOf(value) !== undefined;
}

function looksLikeDrizzle(value) {
  return (
    typeof value?.execute === "function" &&
    typeof value.transaction === "function" &&
    typeof value.session === "object" &&
    typeof value.dialect === "object"
  );
}

function clientOf({ session }) {
  return session.client;
}

/** What of pg and postgres.js the client of a `tx` or a `db` is. */
function driverOf(database) {
  const client = clientOf(database);
  if (postgresJs.isSql(client)) {
    return postgresJs;
  }
  return pg.isClient(client) || pg.isPool(client) ? pg : undefined;
}

function isOpen(tx) {
  return driverOf(tx).isOpen(clientOf(tx));
}

function query(tx, sql, parameters, isFrequent) {
  return driverOf(tx).query(clientOf(tx), sql, parameters, isFrequent);
}

function rollBack(tx) {
  const client = clientOf(tx);
  return abort((statement) => driverOf(tx).query(client, statement, []));
}

function begin(db, isolation, work) {
  return db.transaction(work, isolation && { isolationLevel: isolation.toLowerCase() });
}

function dataSourceOf(value) {
  const db = recogniseRoot(value);
  return db && driverOf(db).dataSourceOf(clientOf(db));
}

function connectionOf(value) {
  const db = recogniseRoot(value);
  return db && driverOf(db).connectionOf(clientOf(db));
}

function mistake(value) {
  return looksLikeDrizzle(value)
    ? "a database of Drizzle over a driver that is not supported (node-postgres and postgres-js are)"
    : undefined;
}

module.exports = {
  begin,
  connectionOf,
  dataSourceOf,
  guardedBy,
  isOpen,
  mistake,
  openedBy,
  query,
  recognise,
  recogniseRoot,
  rollBack,
};
