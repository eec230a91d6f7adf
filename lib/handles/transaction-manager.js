"use strict";

const types = require("pg-types");
const { imageId } = require("../bridge/binding");
const { ask } = require("../bridge/calls");
const { medusaError, unwrap } = require("../errors/errors");
const { parameterFrom } = require("../values/parameters");
const { isolationLevel } = require("./isolation");

/**
 * Marks a manager for every copy of this package in the process: `jest.resetModules()` makes another copy. Copies
 * that have loaded the same addon can use each other's managers. The addon of another installation must not receive
 * the native half, which it would take for its own.
 */
const BRAND = Symbol.for("medusa-idempotency-key.TransactionManager");
const IMAGE = imageId();

/** A transaction of the engine's, as the callback of a stage receives it. */
class TransactionManager {
  #native;
  #queryRunner;

  /** Called by stages and phases only. */
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

  /** Whether a value is a manager of another installation of this package. */
  static isForeign(value) {
    const brand = brandOf(value);
    return brand !== undefined && brand.image !== IMAGE;
  }

  /** Internal: the native scope of a manager's transaction. */
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
      // Savepoints have no isolation level of their own: as in TypeORM, a valid one has no effect.
      isolationLevel(isolationOrWork);
    }
    const scope = unwrap(await ask((to) => this.#native.savepoint(...to)));
    const native = this.#native.nested(scope);
    let result;
    try {
      result = await work(new TransactionManager(native));
    } catch (error) {
      // The work's own error is thrown, whatever the rollback fails with.
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

/** Rows as `pg` returns them, with its parsers or those that a project has set in their place. */
function rowsFrom({ names, types: oids, rows }) {
  const parsers = oids.map((oid) => types.getTypeParser(oid, "text"));
  return rows.map((texts) => {
    const values = texts.map((text, index) => parsed(text, parsers[index]));
    // fromEntries() defines properties, so that a column may be called __proto__.
    return Object.fromEntries(values.map((value, index) => [names[index], value]));
  });
}

function parsed(text, parser) {
  return text === null ? null : parser(text);
}

module.exports = { TransactionManager };
