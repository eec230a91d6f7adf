"use strict";

const { createHash } = require("node:crypto");
const { sqlStateOf } = require("../errors/sql-state");
const { withoutValues } = require("./statement-errors");
const { settingsFromTypeOrm } = require("./typeorm-options");

// TypeORM 0.3. The handle is an EntityManager that has a query runner; one that has none is a root: through it
// transactions are opened.

const openedBy = "TypeORM's manager.transaction()";

/**
 * SQLSTATEs of a connection that does not keep statements: it has none of that name, or another one.
 */
const NOT_KEPT = ["26000", "42P05"];

/** Whether the connections of a DataSource are the server's own, by DataSource. */
const direct = new WeakMap();

/** The DataSources on which statements are not kept. */
const notKeeping = new WeakSet();

/** Names of prepared statements, by their SQL. */
const names = new Map();

/**
 * @param {unknown} value
 * @returns {object | undefined} the handle, even if its transaction has ended
 */
function recognise(value) {
  return isEntityManager(value) && value.queryRunner ? value : undefined;
}

/** @returns {object | undefined} what begin() takes: a transaction, too, in which it makes a savepoint */
function recogniseRoot(value) {
  return isEntityManager(value) ? value : undefined;
}

/** Across copies and realms of TypeORM, as TypeORM itself tells it. */
function isEntityManager(value) {
  const isObject = typeof value === "object" && value !== null;
  return isObject && value["@instanceof"] === Symbol.for("EntityManager");
}

function isOpen({ queryRunner }) {
  return queryRunner.isTransactionActive && !queryRunner.isReleased;
}

/**
 * @param {object} manager
 * @param {string} sql
 * @param {unknown[]} parameters
 * @param {boolean} [isFrequent] whether it is one of a few statements that the connection can keep prepared
 * @returns {Promise<object[]>} the rows as `pg` gives them
 */
async function query(manager, sql, parameters, isFrequent = false) {
  const isKept = isFrequent && keepsStatements(manager.connection) && (await isDirect(manager));
  try {
    return rowsOf(await manager.query(isKept ? prepared(sql) : sql, parameters));
  } catch (error) {
    if (isKept && NOT_KEPT.includes(sqlStateOf(error))) {
      notKeeping.add(manager.connection);
    }
    if (error?.query?.text === sql) {
      error.query = sql;
    }
    withoutValues(error);
    withoutValues(error?.driverError);
    throw error;
  }
}

/** TypeORM answers an UPDATE with the rows and their number. */
function rowsOf(answer) {
  return Array.isArray(answer[0]) ? answer[0] : answer;
}

/**
 * Whether statements can be passed to `pg` as it takes prepared ones, by name and text: TypeORM hands on what it
 * is given, also to those who expect text.
 */
function keepsStatements(dataSource) {
  return !notKeeping.has(dataSource) && !isWatched(dataSource);
}

/**
 * Whether a transaction's connection is the server's own: a pooler, which may give the next transaction another
 * one, has told the client another process than the server does. Asked once for each DataSource.
 */
async function isDirect(manager) {
  const { connection, queryRunner } = manager;
  if (!direct.has(connection)) {
    const [{ pid }] = rowsOf(await manager.query("SELECT pg_backend_pid() AS pid"));
    direct.set(connection, queryRunner.databaseConnection?.processID === pid);
  }
  return direct.get(connection);
}

/** Whether loggers or subscribers see the statements of a DataSource. */
function isWatched({ options, subscribers }) {
  const { logging, logger, maxQueryExecutionTime } = options;
  return (
    Boolean(logging || maxQueryExecutionTime) ||
    typeof logger === "object" ||
    // Switched on by the environment variable DEBUG.
    logger === "debug" ||
    subscribers?.some(({ beforeQuery, afterQuery }) => beforeQuery || afterQuery)
  );
}

/**
 * A statement that the server parses and plans once for each connection. Without that 16 % fewer stages a second end
 * with 1 caller, 17 % with 16 and 21 % with 64: medians of 24 rounds of the benchmark's bound stages.
 */
function prepared(text) {
  let name = names.get(text);
  if (!name) {
    // The same in all copies of this package, as one connection may be used by several.
    name = `idempotency_key_${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
    names.set(text, name);
  }
  // `pg` writes into what it is given.
  return { name, text };
}

function rollBack({ queryRunner }) {
  return queryRunner.rollbackTransaction();
}

/**
 * Opens a transaction and commits it when the work has resolved; what the work rejects with rolls it back.
 *
 * @param {object} root
 * @param {string | undefined} isolation
 * @param {(manager: object) => Promise<unknown>} work
 */
function begin(root, isolation, work) {
  return isolation ? root.transaction(isolation, work) : root.transaction(work);
}

/** The schema of the tables, where the DataSource names one. */
function schemaOf(manager) {
  return manager.connection.options.schema;
}

/**
 * What tells one database of the process from another: managers of one have the same DataSource. Asked of whatever
 * a container has registered as its manager.
 */
function dataSourceOf(manager) {
  const dataSource = manager?.connection;
  return dataSource?.options?.type ? dataSource : undefined;
}

/** How the database of a manager is reached, as `pg` takes it; undefined where it is no PostgreSQL. */
function connectionOf(manager) {
  const options = dataSourceOf(manager)?.options;
  return options?.type === "postgres"
    ? { source: "the DataSource", settings: settingsFromTypeOrm(options) }
    : undefined;
}

/** What TypeORM's users pass in place of a manager. */
function mistake(value) {
  if (value?.["@instanceof"] === Symbol.for("DataSource")) {
    return "a DataSource of TypeORM: pass the manager that dataSource.transaction() hands to its callback";
  }
  if (typeof value?.startTransaction === "function" && value.manager) {
    return "a QueryRunner of TypeORM: pass its manager, queryRunner.manager";
  }
  return undefined;
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
  schemaOf,
};
