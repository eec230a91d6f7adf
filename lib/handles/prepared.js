"use strict";

const { createHash } = require("node:crypto");
const { codeOf } = require("../errors/errors");

/**
 * Errors of a connection that cannot keep statements: it has none of that name, or somebody else's, as
 * behind a pooler that gives each transaction another one; or the table is not what it was.
 */
const NOT_KEPT = ["26000", "42P05", "0A000"];

/** The DataSources on which statements are not kept. */
const notKeeping = new WeakSet();

/** By their SQL. */
const statements = new Map();

/**
 * SQL that `pg` has the server parse and plan once for each connection, as it has a name. To TypeORM's
 * loggers it is text as any other.
 */
class PreparedText {
  constructor(text) {
    this.text = text;
    // The same in all copies of this package, as one connection may be used by several.
    this.name = `idempotency_key_${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
  }

  get length() {
    return this.text.length;
  }

  toString() {
    return this.text;
  }

  valueOf() {
    return this.text;
  }

  toJSON() {
    return this.text;
  }
}

// String's methods work on whatever has a text; to extend String would give each character a property.
Object.setPrototypeOf(PreparedText.prototype, String.prototype);

/**
 * One of a few statements as it is passed to `query()`, kept prepared on the manager's connection where
 * that is possible.
 *
 * @param {{ connection: object }} manager
 * @param {string} sql
 */
function prepared(manager, sql) {
  if (notKeeping.has(manager.connection)) {
    return sql;
  }
  let statement = statements.get(sql);
  if (!statement) {
    statement = new PreparedText(sql);
    statements.set(sql, statement);
  }
  // `pg` writes to what it is given, or copies its own properties, of which this has none.
  return Object.create(statement);
}

/** Notes what a prepared statement has failed with, which then tells its SQL as other errors do. */
function notePreparedFailure(manager, sql, error) {
  if (NOT_KEPT.includes(codeOf(error))) {
    notKeeping.add(manager.connection);
  }
  if (error?.query instanceof PreparedText) {
    error.query = sql;
  }
}

module.exports = { notePreparedFailure, prepared };
