"use strict";

const { performance } = require("node:perf_hooks");
const { Lease: NativeLease, Service } = require("../bridge/binding");
const { ask } = require("../bridge/calls");
const { connectionOf } = require("./connections");
const { warn } = require("../container");
const { medusaError } = require("../errors/errors");
const { warnOverdue } = require("../request/overdue");
const { Lease, NO_LEASE } = require("../request/leases");
const { currentRequest } = require("../request/request-context");

/** Milliseconds until a table without the column for fingerprints is looked at again. */
const LOOK_AGAIN = 60_000;

/** Which tables have the column, and when that was seen. */
const fingerprintColumns = new Map();
/** The tables whose lack of it was told. */
const warnedOf = new Set();

/** A service's connections to its database, and what it keeps of the table there. */
class Database {
  /** The native service. */
  native;
  /** The operations on keys, each on a connection of the pool. */
  session;
  /** Tells the table from those of other services. */
  table;
  #settings;
  #overdue;
  #nobody;

  /**
   * @param {object} settings of the service
   * @param {object | undefined} manager a TypeORM EntityManager
   * @param {object | undefined} projectConfig Medusa's
   * @param {(message: string) => void} tell warns whoever runs the backend
   */
  constructor(settings, manager, projectConfig, tell) {
    const connection = connectionOf(settings, manager, projectConfig);
    this.native = opened({ ...settings, ...connection });
    this.session = this.native.session();
    this.table = `${connection.schema ?? ""} ${connection.identity}`;
    this.#settings = settings;
    this.#overdue = (route) => warnOverdue(tell, route);
  }

  /** The lease of a flow that meets a key for the first time. */
  newLease() {
    const { leaseTimeout: duration, maxDuration } = this.#settings;
    const overdue = this.#overdue;
    return new Lease(this.#nativeLease(), { duration, maxDuration, table: this.table, overdue });
  }

  #nativeLease() {
    return new NativeLease(this.native, this.#settings.leaseTimeout);
  }

  /** The lease of those who hold none, and will hold none for their call. */
  get nobody() {
    if (!this.#nobody) {
      const native = this.#nativeLease();
      this.#nobody = { ...NO_LEASE, use: (call) => call(native) };
    }
    return this.#nobody;
  }

  /**
   * The digest of the request that a call is made for, where it is known and can be kept.
   *
   * @param {string} [given] by the caller
   * @param {object} container whose logger is told once that it cannot be kept
   */
  async fingerprint(given, container) {
    const request = given === undefined ? currentRequest() : undefined;
    if (given === undefined && !request) {
      return undefined;
    }
    return (await this.#hasFingerprints(container)) ? (given ?? request.fingerprint) : undefined;
  }

  /** Forgets what was seen of the table's columns. */
  forgetColumns() {
    fingerprintColumns.delete(this.table);
  }

  async #hasFingerprints(container) {
    const seen = fingerprintColumns.get(this.table);
    if (seen && (seen.has || performance.now() - seen.at < LOOK_AGAIN)) {
      return seen.has;
    }
    const { value: has } = await ask((to) => this.native.hasFingerprints(...to));
    if (typeof has === "boolean") {
      fingerprintColumns.set(this.table, { has, at: performance.now() });
    }
    if (has === false && !warnedOf.has(this.table)) {
      warnedOf.add(this.table);
      warn(
        container,
        "the table idempotency_key has no column request_fingerprint, so a key that is used again " +
          "for the same route with another body is not noticed: run the migrations of this package " +
          "(medusa migrations run, or migrate())",
      );
    }
    return has === true;
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
