"use strict";

const types = require("pg-types");
const { imageId } = require("../bridge/binding");
const { ask } = require("../bridge/calls");
const { medusaError, unwrap } = require("../errors/errors");
const { parameterFrom } = require("../values/parameters");

/** The levels PostgreSQL knows, for those who pass one to a savepoint. */
const ISOLATION_LEVELS = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/**
 * What marks a manager, for every copy of this package in the process: after `jest.resetModules()` there
 * is another one. Copies that have loaded the same addon can use each other's managers; the addon of
 * another installation would take the native handle for one of its own.
 */
const BRAND = Symbol.for("medusa-idempotency-key.TransactionManager");
const IMAGE = imageId();

/** The transaction of a stage, as its callback receives it. */
class TransactionManager {
  #native;
  #queryRunner;

  /** Stages make managers; there is no use in making one by hand. */
  constructor(native) {
    if (typeof native?.savepoint !== "function") {
      throw medusaError(
        "invalid_argument",
        "a TransactionManager comes from workStage or atomicPhase_; it cannot be constructed",
      );
    }
    this.#native = native;
    this.#queryRunner = queryRunnerOf(native);
    Object.defineProperty(this, BRAND, { value: { image: IMAGE, native } });
  }

  /** Whether a value is a manager of this package's own transactions. */
  static isTransactionManager(value) {
    return brandOf(value)?.image === IMAGE;
  }

  /** Whether a value is a manager of another installation of this package, which is of no use here. */
  static isForeign(value) {
    const brand = brandOf(value);
    return brand !== undefined && brand.image !== IMAGE;
  }

  /** The native scope of a manager's transaction. Not for users. */
  static scopeOf(manager) {
    return brandOf(manager).native;
  }

  get queryRunner() {
    return this.#queryRunner;
  }

  async query(sql, parameters = []) {
    if (typeof sql !== "string") {
      throw medusaError("invalid_argument", "query(sql, parameters?): sql has to be a string");
    }
    if (!Array.isArray(parameters)) {
      throw medusaError("invalid_argument", "query(sql, parameters?): parameters are an array");
    }
    const given = parameters.map(parameterFrom);
    return rowsFrom(unwrap(await ask((to) => this.#native.query(...to, sql, given))));
  }

  async transaction(isolationOrWork, maybeWork) {
    const work = maybeWork ?? isolationOrWork;
    if (typeof work !== "function") {
      throw medusaError("invalid_argument", "transaction([isolation,] work): work is a function");
    }
    if (maybeWork !== undefined) {
      checkIsolation(isolationOrWork);
    }
    const scope = unwrap(await ask((to) => this.#native.savepoint(...to)));
    const native = this.#native.nested(scope);
    let result;
    try {
      result = await work(new TransactionManager(native));
    } catch (error) {
      // What the work failed with is what the caller wants to know.
      await ask((to) => native.rollBack(...to));
      throw error;
    }
    unwrap(await ask((to) => native.release(...to)));
    return result;
  }
}

function brandOf(value) {
  const isBranded = typeof value === "object" && value !== null && Object.hasOwn(value, BRAND);
  return isBranded ? value[BRAND] : undefined;
}

function queryRunnerOf(native) {
  return {
    get isTransactionActive() {
      return native.isActive;
    },
    async rollbackTransaction() {
      unwrap(await ask((to) => native.rollBack(...to)));
    },
  };
}

/** PostgreSQL has no isolation for savepoints: as in TypeORM, a valid level changes nothing. */
function checkIsolation(isolation) {
  if (!ISOLATION_LEVELS.includes(String(isolation).toUpperCase())) {
    throw medusaError("invalid_argument", `"${isolation}" is no isolation level`);
  }
}

/** Rows as `pg` gives them: the same parsers, and those that a project has set in their place. */
function rowsFrom({ names, types: oids, rows }) {
  const parsers = oids.map((oid) => types.getTypeParser(oid, "text"));
  return rows.map((texts) => {
    const values = texts.map((text, index) => parsed(text, parsers[index]));
    // Defined one by one, so that a column may be called __proto__.
    return Object.fromEntries(values.map((value, index) => [names[index], value]));
  });
}

function parsed(text, parser) {
  return text === null ? null : parser(text);
}

module.exports = { TransactionManager };
