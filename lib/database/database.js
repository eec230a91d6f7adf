"use strict";

const { Service } = require("../bridge/binding");
const { allBegun, ask } = require("../bridge/calls");
const { medusaError, unwrap } = require("../errors/errors");
const { keyFrom } = require("../values/keys");
const { columnsKnown, forgetColumns, optionalColumns } = require("./optional-columns");
const { keepPruning } = require("./retention");

/** A service's connections to its database, and what it does with the table there beyond single keys. */
class Database {
  /** The native service. */
  native;
  /** Tells the table from those of other services. */
  table;
  /** @type {(message: string) => void} warns whoever runs the backend */
  tell;
  /** Those of the service. */
  settings;

  /**
   * @param {object} settings
   * @param {object} connection how the database is reached
   * @param {(message: string) => void} tell
   */
  constructor(settings, connection, tell) {
    const { connectTimeout, statementTimeout, acquireTimeout } = settings;
    const timeouts = {
      connect: connectTimeout,
      statement: statementTimeout,
      acquire: acquireTimeout,
    };
    this.native = opened({ ...settings, ...connection, timeouts });
    this.table = `${connection.schema ?? ""} ${connection.identity}`;
    this.tell = tell;
    this.settings = settings;
  }

  /**
   * Which of the columns that Medusa's table does not have this one has.
   *
   * @param {("request_fingerprint" | "response_headers")[]} wanted
   */
  optionalColumns(wanted) {
    return optionalColumns(wanted, this.table, this.native, this.tell);
  }

  /** The same, where it has been seen lately; else undefined. */
  columnsKnown(wanted) {
    return columnsKnown(wanted, this.table);
  }

  /** Forgets what was seen of the table's columns. */
  forgetColumns() {
    forgetColumns(this.table);
  }

  /**
   * Keeps finished keys no longer than the option `retention` says. Asked for by every call, as the pool through
   * which it was done may have been closed.
   */
  keepPruning() {
    const { retention } = this.settings;
    if (retention !== undefined) {
      keepPruning(this.table, this.native, retention, (error) =>
        this.tell(`keys could not be pruned: ${error.message}`),
      );
    }
  }

  /**
   * Keys of requests that stopped half-way.
   *
   * @param {{ olderThan: number, limit: number, interrupted: boolean }} options milliseconds
   */
  async listStalled({ olderThan, limit, interrupted }) {
    const given = [interrupted, olderThan, this.settings.leaseTimeout, limit];
    const rows = unwrap(await ask((to) => this.native.stalled(...to, ...given)));
    return rows.map((row) => keyFrom(row));
  }

  /**
   * Deletes finished keys, and resolves to their number.
   *
   * @param {{ olderThan: number, batchSize: number }} options milliseconds
   */
  async prune({ olderThan, batchSize }) {
    return unwrap(await ask((to) => this.native.prune(...to, olderThan, batchSize)));
  }

  /** Creates what is missing of the table. */
  async migrate() {
    unwrap(await ask((to) => this.native.migrate(...to)));
    this.forgetColumns();
  }

  /** Ends this share of the connections, once the calls that have been made have begun. */
  async close() {
    await allBegun(this.native);
    unwrap(await ask((to) => this.native.close(...to)));
  }
}

/** Refuses settings of a wrong type by their name: the native message has the value, which may be a password. */
function opened(settings) {
  try {
    return new Service(settings);
  } catch (error) {
    const [, name = "one of the settings"] = /Parts\.(\w+)/.exec(error.message) ?? [];
    throw medusaError(
      "invalid_argument",
      `medusa-idempotency-key: the settings of the database's connection cannot be used: ${name} is of a wrong type`,
      "invalid_option",
    );
  }
}

module.exports = { Database };
