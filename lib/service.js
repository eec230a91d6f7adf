"use strict";

const { AsyncResource } = require("node:async_hooks");
const { Service, newKey } = require("../binding");
const { medusaError, errorFrom, unwrap } = require("./errors");
const { columnsOf, keyFrom, textFor } = require("./keys");
const { settingsFrom } = require("./options");
const { alternativesOf } = require("./selectors");
const { TransactionManager } = require("./transaction-manager");

class IdempotencyKeyService {
  #settings;
  #native;
  #closed = false;

  constructor(container, options, moduleDeclaration) {
    this.#settings = settingsFrom(options, container);
    this.__container__ = container;
    this.__configModule__ = options;
    this.__moduleDeclaration__ = moduleDeclaration;
    this.manager_ = managerOf(container);
    this.transactionManager_ = undefined;
  }

  get activeManager_() {
    return this.transactionManager_ ?? this.manager_;
  }

  withTransaction(transactionManager) {
    if (!transactionManager) {
      return this;
    }
    const bound = new this.constructor(
      this.__container__,
      this.__configModule__,
      this.__moduleDeclaration__,
    );
    bound.manager_ = transactionManager;
    bound.transactionManager_ = transactionManager;
    return bound;
  }

  async create(payload) {
    const session = IdempotencyKeyService.#sessionOf(this);
    columnsOf("create", payload);
    if (payload.idempotency_key === undefined || payload.idempotency_key === null) {
      // Before the insert, so that a caller who repeats it repeats the same key.
      Reflect.set(payload, "idempotency_key", newKey());
    }
    const answer = await session.create(columnsOf("create", payload));
    return keyFrom(unwrap(answer).key, payload);
  }

  async initializeRequest(headerKey, method, params, path) {
    const session = IdempotencyKeyService.#sessionOf(this);
    const request = {
      request_method: method,
      request_params: params,
      request_path: path,
    };
    const key = headerKey ? keyText(headerKey) : undefined;
    const answer = await session.initializeRequest(key, columnsOf("initializeRequest", request));
    return keyFrom(unwrap(answer).key);
  }

  async retrieve(keyOrSelector) {
    const session = IdempotencyKeyService.#sessionOf(this);
    if (typeof keyOrSelector !== "object" || keyOrSelector === null) {
      return keyFrom(unwrap(await session.retrieve(keyText(keyOrSelector))).key);
    }
    const constraints = JSON.stringify(keyOrSelector);
    const alternatives = JSON.stringify(alternativesOf(keyOrSelector));
    return keyFrom(unwrap(await session.select(constraints, alternatives)).key);
  }

  async lock(key) {
    const session = IdempotencyKeyService.#sessionOf(this);
    const answer = await session.lock(keyText(key), this.#settings.lockTimeout);
    return keyFrom(unwrap(answer).key);
  }

  async update(key, update) {
    const session = IdempotencyKeyService.#sessionOf(this);
    const answer = await session.update(keyText(key), columnsOf("update", update));
    return keyFrom(unwrap(answer).key, update);
  }

  async workStage(key, callback) {
    const place = IdempotencyKeyService.#placeOfStages(this);
    const manager = this.transactionManager_;
    const text = keyText(key);
    requireFunction("workStage(key, callback)", callback);
    const work = new Work(manager, async (given) => outcomeOf(await callback(given)));
    const answer = await place.workStage(text, work.perform);
    work.throwIfFailed(answer);
    return keyFrom(answer.key, work.result.own);
  }

  shouldRetryTransaction_(error) {
    return error?.code === "40001" || error?.code === "40P01";
  }

  async atomicPhase_(work, isolationOrErrorHandler, maybeErrorHandlerOrDontFail) {
    requireFunction("atomicPhase_(work, …)", work);
    const twoFunctions = typeof isolationOrErrorHandler === "function";
    const errorHandler = twoFunctions ? isolationOrErrorHandler : maybeErrorHandlerOrDontFail;
    if (this.transactionManager_) {
      IdempotencyKeyService.#sessionOf(this);
      return phaseIn(this.transactionManager_, work, errorHandler);
    }
    const isolation = twoFunctions ? undefined : isolationOrErrorHandler;
    const dontFail = twoFunctions && Boolean(maybeErrorHandlerOrDontFail);
    try {
      return await IdempotencyKeyService.#phaseOfItsOwn(this, work, isolation);
    } catch (error) {
      const handled = await errorHandler?.(error);
      if (errorHandler && dontFail) {
        return handled;
      }
      throw error;
    }
  }

  async migrate() {
    unwrap(await IdempotencyKeyService.#open(this).migrate());
  }

  async close() {
    requireService(this, #settings in Object(this));
    this.#closed = true;
    const native = this.#native;
    this.#native = undefined;
    if (native) {
      unwrap(await native.close());
    }
  }

  /** The native service, opened by the first call that needs a database. */
  static #open(service) {
    requireService(service, #settings in Object(service));
    if (service.#closed) {
      throw medusaError(
        "unexpected_state",
        "the service was closed: construct a new one",
        "service_closed",
      );
    }
    service.#native ??= new Service({
      ...service.#settings,
      databaseUrl: urlOf(service.#settings),
    });
    return service.#native;
  }

  /** Where the operations of a service run: in the transaction it is bound to, or on the pool. */
  static #sessionOf(service) {
    requireService(service, #settings in Object(service));
    const manager = service.transactionManager_;
    if (!manager) {
      return IdempotencyKeyService.#open(service).session();
    }
    if (!TransactionManager.isTransactionManager(manager)) {
      throw medusaError(
        "invalid_argument",
        "withTransaction() takes the manager that workStage or atomicPhase_ hands to its callback",
        "invalid_manager",
      );
    }
    return TransactionManager.sessionOf(manager);
  }

  /** A stage of an unbound service opens a transaction; one of a bound service runs in its own. */
  static #placeOfStages(service) {
    const session = IdempotencyKeyService.#sessionOf(service);
    return service.transactionManager_ ? session : IdempotencyKeyService.#open(service);
  }

  static async #phaseOfItsOwn(service, work, isolation) {
    if (isolation && typeof isolation !== "string") {
      throw medusaError("invalid_argument", "atomicPhase_: the isolation level has to be a string");
    }
    const phase = new Work(undefined, async (manager) => ({ result: await work(manager) }));
    const native = IdempotencyKeyService.#open(service);
    const answer = await native.atomicPhase(
      isolation || undefined,
      Boolean(isolation),
      phase.perform,
    );
    phase.throwIfFailed(answer);
    return phase.result.result;
  }
}

/**
 * Work that the engine calls with a transaction. What it receives and fails with stays here: the
 * engine learns how it ended, no more, and the caller gets the very value that was thrown.
 */
class Work {
  result;
  #failed = false;
  #error;

  /** @param manager what the work receives; without one, a manager of the engine's transaction */
  constructor(manager, work) {
    // The engine calls from a thread of its own: without this the caller's AsyncLocalStorage
    // contexts would be gone inside of the work.
    this.perform = AsyncResource.bind(async (native) => {
      this.#failed = false;
      try {
        this.result = await work(manager ?? new TransactionManager(native));
        return { failed: false, ...this.result.outcome };
      } catch (error) {
        this.#failed = true;
        this.#error = error;
        return { failed: true, code: codeOf(error) };
      }
    });
  }

  throwIfFailed({ failure }) {
    if (!failure) {
      return;
    }
    throw failure.kind === "work" && this.#failed ? this.#error : errorFrom(failure);
  }
}

/** What a stage's callback returned, for the engine, and what the resolved key carries of it. */
function outcomeOf(result) {
  if (typeof result !== "object" || result === null) {
    throw medusaError(
      "invalid_data",
      "the callback of workStage has to return an object: { recovery_point } or " +
        "{ response_code, response_body }",
    );
  }
  const { recovery_point, response_code, response_body } = result;
  if (recovery_point) {
    return { outcome: { recoveryPoint: recoveryPoint(recovery_point) }, own: {} };
  }
  return {
    outcome: {
      responseCode: textFor("response_code", response_code) ?? undefined,
      responseBody: textFor("response_body", response_body) ?? undefined,
    },
    own: { response_body },
  };
}

function recoveryPoint(value) {
  if (typeof value !== "string") {
    throw medusaError("invalid_data", `recovery_point has to be a string, not ${typeof value}`);
  }
  return value;
}

/** A phase in the caller's transaction, as Medusa's: the handler finds it rolled back. */
async function phaseIn(manager, work, errorHandler) {
  try {
    return await work(manager);
  } catch (error) {
    if (errorHandler) {
      if (manager.queryRunner?.isTransactionActive) {
        await manager.queryRunner.rollbackTransaction();
      }
      await errorHandler(error);
    }
    throw error;
  }
}

function keyText(key) {
  if (key === undefined || key === null) {
    throw medusaError("not_found", '"idempotencyKeyOrSelector" must be defined');
  }
  if (typeof key !== "string") {
    throw medusaError("invalid_data", `an idempotency key has to be a string, not ${typeof key}`);
  }
  return key;
}

function requireFunction(signature, value) {
  if (typeof value !== "function") {
    throw medusaError(
      "invalid_argument",
      `${signature}: a function was expected, not ${typeof value}`,
    );
  }
}

function requireService(service, isService) {
  if (!isService) {
    throw medusaError(
      "invalid_argument",
      "a method of IdempotencyKeyService was called on another object: call it as service.method()",
      "invalid_receiver",
    );
  }
}

/** A cradle throws for names it does not know. */
function managerOf(container) {
  const isObject = typeof container === "object" && container !== null;
  return isObject && "manager" in container ? container.manager : undefined;
}

function urlOf({ databaseUrl }) {
  const url = databaseUrl ?? process.env.DATABASE_URL;
  if (!url) {
    throw medusaError(
      "invalid_argument",
      "no database: give the option databaseUrl or set DATABASE_URL",
      "no_database",
    );
  }
  return url;
}

/** The SQLSTATE of whatever was thrown; even a getter that throws is not worth a second failure. */
function codeOf(error) {
  try {
    return typeof error?.code === "string" ? error.code : undefined;
  } catch {
    return undefined;
  }
}

module.exports = { IdempotencyKeyService };
