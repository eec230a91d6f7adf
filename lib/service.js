"use strict";

const { Service, Session, newKey } = require("../binding");
const { connectionOf } = require("./connections");
const { medusaError, unwrap } = require("./errors");
const { drive } = require("./flows");
const { columnsOf, keyFrom } = require("./keys");
const { opensTransactions, placeOf } = require("./managers");
const { settingsFrom } = require("./options");
const { alternativesOf } = require("./selectors");
const { TransactionManager } = require("./transaction-manager");
const { Work, outcomeOf } = require("./work");

class IdempotencyKeyService {
  #settings;
  /** The service that this one was bound from, whose connections it uses. */
  #origin = this;
  #native;
  #closed = false;

  constructor(container, options, moduleDeclaration) {
    this.#settings = settingsFrom(options, container);
    this.__container__ = container;
    this.__configModule__ = options;
    this.__moduleDeclaration__ = moduleDeclaration;
    this.manager_ = registered(container, "manager");
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
    if (#origin in bound) {
      bound.#origin = this.#origin;
    }
    return bound;
  }

  async create(payload) {
    columnsOf("create", payload);
    if (payload.idempotency_key === undefined || payload.idempotency_key === null) {
      // Before the insert, so that a caller who repeats it repeats the same key.
      Reflect.set(payload, "idempotency_key", newKey());
    }
    const columns = columnsOf("create", payload);
    const answer = await IdempotencyKeyService.#run(this, (session) => session.create(columns));
    return keyFrom(unwrap(answer).key, payload);
  }

  async initializeRequest(headerKey, method, params, path) {
    const columns = columnsOf("initializeRequest", {
      request_method: method,
      request_params: params,
      request_path: path,
    });
    const key = headerKey ? keyText(headerKey) : undefined;
    const answer = await IdempotencyKeyService.#run(this, (session) =>
      session.initializeRequest(key, columns),
    );
    return keyFrom(unwrap(answer).key);
  }

  async retrieve(keyOrSelector) {
    const answer = await IdempotencyKeyService.#run(this, lookUp(keyOrSelector));
    return keyFrom(unwrap(answer).key);
  }

  async lock(key) {
    const text = keyText(key);
    const answer = await IdempotencyKeyService.#run(this, (session) =>
      session.lock(text, this.#settings.lockTimeout),
    );
    return keyFrom(unwrap(answer).key);
  }

  async update(key, update) {
    const text = keyText(key);
    const columns = columnsOf("update", update);
    const answer = await IdempotencyKeyService.#run(this, (session) =>
      session.update(text, columns),
    );
    return keyFrom(unwrap(answer).key, update);
  }

  async workStage(key, callback) {
    requireService(this, #settings in Object(this));
    const text = keyText(key);
    requireFunction("workStage(key, callback)", callback);
    const work = (manager) => new Work(manager, async (given) => outcomeOf(await callback(given)));
    const bound = placeOf(this.transactionManager_);
    if (bound) {
      return IdempotencyKeyService.#stageIn(this, this.transactionManager_, text, work);
    }
    if (opensTransactions(this.activeManager_)) {
      return this.activeManager_.transaction((manager) =>
        IdempotencyKeyService.#stageIn(this, manager, text, work),
      );
    }
    const ofItsOwn = work();
    const native = IdempotencyKeyService.#open(this);
    const { key: row } = ofItsOwn.unwrap(await native.workStage(text, ofItsOwn.forEngine()));
    return keyFrom(row, ofItsOwn.result.own);
  }

  shouldRetryTransaction_(error) {
    return error?.code === "40001" || error?.code === "40P01";
  }

  async atomicPhase_(work, isolationOrErrorHandler, maybeErrorHandlerOrDontFail) {
    requireService(this, #settings in Object(this));
    requireFunction("atomicPhase_(work, …)", work);
    const twoFunctions = typeof isolationOrErrorHandler === "function";
    const errorHandler = twoFunctions ? isolationOrErrorHandler : maybeErrorHandlerOrDontFail;
    if (placeOf(this.transactionManager_)) {
      return phaseIn(this.transactionManager_, work, errorHandler);
    }
    const isolation = twoFunctions ? undefined : isolationOrErrorHandler || undefined;
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

  /** Runs an operation in the transaction that the service is bound to, or on the pool. */
  static #run(service, operation) {
    requireService(service, #settings in Object(service));
    const manager = service.transactionManager_;
    if (!placeOf(manager)) {
      return operation(IdempotencyKeyService.#open(service).session());
    }
    return IdempotencyKeyService.#runIn(service, manager, operation);
  }

  /** Runs an operation in the transaction of a manager. */
  static #runIn(service, manager, operation) {
    if (TransactionManager.isTransactionManager(manager)) {
      return operation(TransactionManager.sessionOf(manager));
    }
    return drive(operation(foreignSession(service.#schemaOf(manager))), manager);
  }

  static async #stageIn(service, manager, key, workWith) {
    const work = workWith(manager);
    const answer = TransactionManager.isTransactionManager(manager)
      ? await TransactionManager.sessionOf(manager).workStage(key, work.forEngine())
      : await drive(foreignSession(service.#schemaOf(manager)).stageFlow(key), manager, work);
    return keyFrom(work.unwrap(answer).key, work.result.own);
  }

  #schemaOf(manager) {
    return this.#settings.schema ?? manager.connection.options.schema;
  }

  static async #phaseOfItsOwn(service, work, isolation) {
    if (isolation && typeof isolation !== "string") {
      throw medusaError("invalid_argument", "atomicPhase_: the isolation level has to be a string");
    }
    const manager = service.activeManager_;
    if (opensTransactions(manager)) {
      return phaseThrough(manager, work, isolation, (error) =>
        service.shouldRetryTransaction_(error),
      );
    }
    const phase = new Work(undefined, async (given) => ({ result: await work(given) }));
    const native = IdempotencyKeyService.#open(service);
    const done = await native.atomicPhase(isolation, Boolean(isolation), phase.forEngine());
    phase.unwrap(done);
    return phase.result.result;
  }

  /** The native service, opened by the first call that needs a connection of its own. */
  static #open(service) {
    requireService(service, #settings in Object(service));
    const owner = IdempotencyKeyService.#ownerOf(service);
    if (owner.#closed) {
      throw medusaError(
        "unexpected_state",
        "the service was closed: construct a new one",
        "service_closed",
      );
    }
    owner.#native ??= new Service({
      ...owner.#settings,
      ...connectionOf(owner.#settings, owner.activeManager_, projectConfigOf(owner)),
    });
    return owner.#native;
  }

  /** Whose connections a service uses: a root manager of another database means another one. */
  static #ownerOf(service) {
    const origin = service.#origin;
    const sameDatabase = service.activeManager_?.connection === origin.activeManager_?.connection;
    return service.transactionManager_ && !sameDatabase ? service : origin;
  }
}

const foreignSessions = new Map();

/** The operations in a transaction that somebody else holds, on the table of a schema. */
function foreignSession(schema) {
  let session = foreignSessions.get(schema);
  if (!session) {
    session = Session.foreign(schema);
    foreignSessions.set(schema, session);
  }
  return session;
}

function lookUp(keyOrSelector) {
  if (typeof keyOrSelector !== "object" || keyOrSelector === null) {
    const key = keyText(keyOrSelector);
    return (session) => session.retrieve(key);
  }
  const constraints = JSON.stringify(keyOrSelector);
  const alternatives = JSON.stringify(alternativesOf(keyOrSelector));
  return (session) => session.select(constraints, alternatives);
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

/** A phase in a transaction of TypeORM's, as Medusa's: repeated once, and only at a given level. */
async function phaseThrough(manager, work, isolation, mayRepeat) {
  const phase = () =>
    isolation ? manager.transaction(isolation, work) : manager.transaction(work);
  try {
    return await phase();
  } catch (error) {
    if (isolation && mayRepeat(error)) {
      return phase();
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
function registered(container, name) {
  const isObject = typeof container === "object" && container !== null;
  return isObject && name in container ? container[name] : undefined;
}

/** Medusa's config: a project's own services get it in place of options. */
function projectConfigOf(service) {
  const own = service.__configModule__?.projectConfig;
  return own ?? registered(service.__container__, "configModule")?.projectConfig;
}

module.exports = { IdempotencyKeyService };
