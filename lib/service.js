"use strict";

const { randomUUID } = require("node:crypto");
const { Session, clientKey, stageKey } = require("./bridge/binding");
const {
  headerText,
  keyText,
  namedArguments,
  positiveInteger,
  recoveryPointOf,
  requireBoolean,
  requireFunction,
} = require("./values/arguments");
const { Attempt } = require("./request/attempt");
const { allBegun, ask, askIn, askTogether } = require("./bridge/calls");
const { projectConfigOf, registered, warn, warnerOf } = require("./container");
const { Database } = require("./database/database");
const { millisecondsFrom } = require("./values/durations");
const { medusaError, unwrap } = require("./errors/errors");
const { drive } = require("./handles/flows");
const { withStatusOfDriver } = require("./errors/http-errors");
const {
  columnsOf,
  keyFrom,
  requestFrom,
  requireColumns,
  requireSpelling,
} = require("./values/keys");
const { NO_LEASE, leaseOf, leaseOfRequest, untilReleased } = require("./request/leases");
const { isTransactional, opensTransactions, placeOf } = require("./places/managers");
const { ON_INTERRUPTED, settingsFrom } = require("./values/options");
const { finalOutcomeOf, medusaOutcomeOf, outcomeOf } = require("./request/outcomes");
const { phaseIn, phaseThrough } = require("./places/phases");
const { currentRequest } = require("./request/request-context");
const { keepPruning } = require("./database/retention");
const { FINISHED, checkStages, requestOf, runFrom } = require("./request/run-stages");
const { alternativesOf } = require("./values/selectors");
const { TransactionManager } = require("./handles/transaction-manager");
const { Work } = require("./places/work");

/** A stage that is refused with these is somebody else's, or another call's of the same flow. */
const REFUSALS = ["idempotency_key_in_use", "lease_lost"];
/** The column for fingerprints has been dropped under a running process. */
const UNDEFINED_COLUMN = "42703";
const INTERRUPTED = "idempotency_key_interrupted";
const LIST_STALLED = "listStalled({ olderThan, limit, interrupted })";
const PRUNE = "prune({ olderThan, batchSize })";
const LISTED_AT_MOST = 10_000;
const PRUNED_AT_ONCE = 100_000;

class IdempotencyKeyService {
  #settings;
  /** The service that this one was bound from, whose connections it uses. */
  #origin = this;
  #database;
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
    requireService(this, #settings in Object(this));
    this.#requireColumns("create", payload);
    const isNew = payload.idempotency_key === undefined || payload.idempotency_key === null;
    const key = isNew ? randomUUID() : undefined;
    const [named, texts, long] = columnsOf(payload, key);
    if (isNew) {
      // Before the insert, so that a caller who repeats it repeats the same key.
      setKey(payload, key);
    }
    const create = [isNew, named, texts];
    const answer = await IdempotencyKeyService.#run(this, { create }, undefined, long);
    return keyFrom(unwrap(answer), payload, texts);
  }

  async initializeRequest(headerKey, method, params, path) {
    requireService(this, #settings in Object(this));
    return IdempotencyKeyService.#initialize(this, { key: headerKey, method, params, path });
  }

  async begin(request) {
    requireService(this, #settings in Object(this));
    const key = await IdempotencyKeyService.#initialize(this, requestOf("begin(request)", request));
    const lease = IdempotencyKeyService.#leaseFor(this, key);
    return IdempotencyKeyService.#attempt(this, key, lease);
  }

  attemptOf(key) {
    requireService(this, #settings in Object(this));
    keyText(key);
    const lease = IdempotencyKeyService.#leaseFor(this, key, () => undefined);
    return lease && IdempotencyKeyService.#attempt(this, key, lease);
  }

  async release(key) {
    requireService(this, #settings in Object(this));
    const lease = IdempotencyKeyService.#leaseFor(this, key, ({ nobody }) => nobody);
    return IdempotencyKeyService.#release(this, key, lease);
  }

  async retrieve(keyOrSelector) {
    const answer = await IdempotencyKeyService.#run(this, lookUp(keyOrSelector));
    return keyFrom(unwrap(answer));
  }

  async lock(key) {
    requireService(this, #settings in Object(this));
    const text = keyText(key);
    const lease = IdempotencyKeyService.#leaseFor(this, key);
    return lease.use(async (native) => {
      const lock = [text, this.#settings.lockTimeout];
      const answer = await IdempotencyKeyService.#run(this, { lock }, native);
      return lease.keep(keyFrom(unwrap(answer)));
    });
  }

  async update(key, update) {
    requireService(this, #settings in Object(this));
    const text = keyText(key);
    this.#requireColumns("update", update);
    const lease = IdempotencyKeyService.#leaseFor(this, key, ({ nobody }) => nobody);
    return IdempotencyKeyService.#update(this, text, update, lease);
  }

  async workStage(key, callback) {
    requireService(this, #settings in Object(this));
    keyText(key);
    requireFunction("workStage(key, callback)", callback);
    return IdempotencyKeyService.#stage(this, key, callback);
  }

  async runStages(request, stages) {
    requireService(this, #settings in Object(this));
    checkStages(stages);
    const given = requestOf("runStages(request, stages)", request);
    // Its stages tell how far it has come, so that it can go on whatever has interrupted it.
    const key = await IdempotencyKeyService.#initialize(this, given, "retry");
    const lease = IdempotencyKeyService.#leaseFor(this, key);
    lease.keepAlive();
    try {
      const attempt = IdempotencyKeyService.#attempt(this, key, lease);
      return await runFrom(attempt, stages, (current, work) =>
        IdempotencyKeyService.#stage(this, current, work),
      );
    } catch (error) {
      await IdempotencyKeyService.#released(this, lease);
      throw error;
    } finally {
      lease.stopRenewing();
    }
  }

  stageKey(key, stage) {
    if (typeof stage !== "string" || stage === "") {
      throw medusaError("invalid_argument", "stageKey(key, stage): stage has to be its name");
    }
    return stageKey(keyText(key), stage);
  }

  async listStalled(options) {
    const { native } = IdempotencyKeyService.#open(this);
    const names = ["olderThan", "limit", "interrupted"];
    const {
      olderThan,
      limit = 100,
      interrupted = false,
    } = namedArguments(LIST_STALLED, options, names);
    requireBoolean(`${LIST_STALLED}: interrupted`, interrupted);
    const { leaseTimeout } = this.#settings;
    const given = [
      interrupted,
      duration(LIST_STALLED, olderThan ?? leaseTimeout),
      leaseTimeout,
      positiveInteger(`${LIST_STALLED}: limit`, limit, LISTED_AT_MOST),
    ];
    const rows = unwrap(await ask((to) => native.stalled(...to, ...given)));
    return rows.map((row) => keyFrom(row));
  }

  async prune(options) {
    const { native } = IdempotencyKeyService.#open(this);
    const { olderThan, batchSize = 1000 } = namedArguments(PRUNE, options, [
      "olderThan",
      "batchSize",
    ]);
    const given = [
      duration(PRUNE, olderThan ?? this.#settings.retention),
      positiveInteger(`${PRUNE}: batchSize`, batchSize, PRUNED_AT_ONCE),
    ];
    return unwrap(await ask((to) => native.prune(...to, ...given)));
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
    const database = IdempotencyKeyService.#open(this);
    unwrap(await ask((to) => database.native.migrate(...to)));
    database.forgetColumns();
  }

  async close() {
    requireService(this, #settings in Object(this));
    this.#closed = true;
    const database = this.#database;
    this.#database = undefined;
    if (database) {
      const { session, native } = database;
      await allBegun(session);
      unwrap(await ask((to) => native.close(...to)));
    }
  }

  /** Runs an operation in the transaction that the service is bound to, or on the pool. */
  static #run(service, operation, lease, long) {
    requireService(service, #settings in Object(service));
    const manager = service.transactionManager_;
    if (!placeOf(manager)) {
      const { session } = IdempotencyKeyService.#open(service);
      return askTogether(session, operation, lease, long);
    }
    return IdempotencyKeyService.#runIn(service, manager, operation, lease, long);
  }

  /** Runs an operation in the transaction of a manager. */
  static async #runIn(service, manager, operation, lease, long) {
    if (TransactionManager.isTransactionManager(manager)) {
      return askIn(TransactionManager.sessionOf(manager), operation, lease, long);
    }
    const session = foreignSession(service.#schemaOf(manager));
    const begin = (flow) => session.beginFlow(flow, JSON.stringify(operation), lease, long);
    const { value, failure } = await drive(session, begin, manager);
    return { value: value?.key, failure };
  }

  #requireColumns(method, payload) {
    requireColumns(method, payload);
    if (this.#settings.mode !== "medusa") {
      requireSpelling(method, payload);
    }
  }

  static async #initialize(service, given, onInterrupted = service.#settings.onInterrupted) {
    const header = headerText(given.key);
    const request = requestFrom(given);
    if (service.#settings.mode === "medusa") {
      return IdempotencyKeyService.#findOrCreate(service, header, request);
    }
    const key = unwrap(clientKey(header));
    const begin = (refuseInterrupted) =>
      IdempotencyKeyService.#begin(service, key, request, given.fingerprint, refuseInterrupted);
    try {
      return await begin(onInterrupted !== "retry");
    } catch (error) {
      const mayRetry =
        error?.code === INTERRUPTED &&
        typeof onInterrupted === "function" &&
        (await decisionOf(onInterrupted, key, given)) === "retry";
      if (mayRetry) {
        return begin(false);
      }
      throw error;
    }
  }

  static #update(service, key, update, lease) {
    const [named, texts, long] = columnsOf(update);
    const operation = { update: [key, named, texts] };
    return lease.use(async (native) => {
      const answer = await IdempotencyKeyService.#run(service, operation, native, long);
      return lease.keep(keyFrom(unwrap(answer), update, texts));
    });
  }

  /** An attempt at a request, which holds a lease of its key. */
  static #attempt(service, key, lease) {
    return new Attempt(key, lease, {
      durationOf: (max) => maxDurationOf(max, service.#settings.maxDuration),
      finish: (current, answer) => IdempotencyKeyService.#finish(service, current, answer, lease),
      release: (current) => IdempotencyKeyService.#release(service, current, lease),
    });
  }

  static async #finish(service, key, answer, lease) {
    const { outcome, own } = finalOutcomeOf(answer);
    if (lease === NO_LEASE) {
      const update = { recovery_point: FINISHED, ...answer };
      return IdempotencyKeyService.#update(service, keyText(key), update, lease);
    }
    const { responseCode = null, responseBody = null } = outcome;
    const finish = [keyText(key), responseCode, responseBody];
    return lease.use(async (native) => {
      const stored = await IdempotencyKeyService.#run(service, { finish }, native);
      return lease.keep(keyFrom(unwrap(stored), own));
    });
  }

  static async #release(service, key, lease) {
    const release = [keyText(key), service.#settings.leaseTimeout];
    return lease.use(async (native) => {
      const answer = await IdempotencyKeyService.#run(service, { release }, native);
      return lease.keep(keyFrom(unwrap(answer)));
    });
  }

  /** The key of a request, with Medusa's semantics. */
  static async #findOrCreate(service, header, request) {
    const initializeRequest = [header, request];
    const answer = await IdempotencyKeyService.#run(service, { initializeRequest });
    return keyFrom(unwrap(answer));
  }

  /** Begins the request of a key, takes it over, or finds its answer. */
  static async #begin(service, key, request, ofStages, refuseInterrupted) {
    const database = IdempotencyKeyService.#open(service);
    const fingerprint = await database.fingerprint(ofStages, service.__container__);
    const known = key && leaseOfRequest(database.table, key);
    const lease = known ?? database.newLease();
    await untilReleased(database.table, key);
    // A bound call does not wait: it would hold its caller's connection.
    const wait = placeOf(service.transactionManager_) ? 0 : service.#settings.waitTimeout;
    const initialize = [key, { ...request, fingerprint }, wait, refuseInterrupted];
    const begin = async (native) => {
      const answer = await IdempotencyKeyService.#run(service, { initialize }, native);
      return lease.keep(keyFrom(unwrap(answer)));
    };
    try {
      return await lease.use(begin);
    } catch (error) {
      if (error?.code === UNDEFINED_COLUMN) {
        database.forgetColumns();
      }
      throw error;
    }
  }

  /** The lease that the running flow has of a key, or what the flow uses `otherwise`. */
  static #leaseFor(service, key, otherwise = (database) => database.newLease()) {
    if (service.#settings.mode === "medusa") {
      return NO_LEASE;
    }
    const database = IdempotencyKeyService.#open(service);
    return leaseOf(database.table, keyText(key), key) ?? otherwise(database);
  }

  /** Runs a stage as the flow that the key is of; if it fails, the request can be tried again. */
  static async #stage(service, key, callback) {
    const lease = IdempotencyKeyService.#leaseFor(service, key);
    const works = [];
    const outcome = service.#settings.mode === "medusa" ? medusaOutcomeOf : outcomeOf;
    const workWith = (manager) => {
      const work = new Work(manager, async (given) => outcome(await callback(given)));
      works.push(work);
      return work;
    };
    try {
      return lease.keep(await IdempotencyKeyService.#workStage(service, key, lease, workWith));
    } catch (error) {
      if (works.some((work) => work.started) || !REFUSALS.includes(error?.code)) {
        await IdempotencyKeyService.#released(service, lease);
      }
      throw works.some((work) => work.failedWith(error)) ? error : withStatusOfDriver(error);
    }
  }

  static async #workStage(service, key, lease, workWith) {
    const stageIn = (manager) =>
      lease.use((native) =>
        IdempotencyKeyService.#stageIn(service, manager, key, native, workWith(manager)),
      );
    if (placeOf(service.transactionManager_)) {
      return stageIn(service.transactionManager_);
    }
    if (opensTransactions(service.activeManager_)) {
      return service.activeManager_.transaction(stageIn);
    }
    const { native } = IdempotencyKeyService.#open(service);
    const work = workWith();
    const given = [keyText(key), work.forEngine()];
    const stage = (held) =>
      ask((to) => native.workStage(...to, ...given, held, recoveryPointOf(key)));
    return work.keyFrom(await lease.useLater(stage));
  }

  static async #stageIn(service, manager, key, lease, work) {
    const text = keyText(key);
    const point = recoveryPointOf(key);
    if (TransactionManager.isTransactionManager(manager)) {
      const session = TransactionManager.sessionOf(manager);
      const stage = (to) => session.workStage(...to, text, work.forEngine(), lease, point);
      return work.keyFrom(await ask(stage));
    }
    const session = foreignSession(service.#schemaOf(manager));
    const begin = (flow) => session.beginStage(flow, text, lease, point);
    return work.keyFrom(await drive(session, begin, manager, work));
  }

  /**
   * Releases the lease of a flow that has failed. A transaction that somebody else will end still
   * holds the row: to wait for it here would be to wait for ever.
   */
  static async #released(service, lease) {
    const released = lease.release();
    if (!isTransactional(service.transactionManager_)) {
      await released;
    }
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
    const { native } = IdempotencyKeyService.#open(service);
    phase.unwrap(
      await ask((to) =>
        native.atomicPhase(...to, isolation, Boolean(isolation), phase.forEngine()),
      ),
    );
    return phase.result.result;
  }

  /** The database of a service, opened by the first call that needs it. */
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
    if (!owner.#database) {
      owner.#database = new Database(
        owner.#settings,
        owner.activeManager_,
        projectConfigOf(owner.__container__, owner.__configModule__),
        warnerOf(owner.__container__),
      );
    }
    owner.#prune();
    return owner.#database;
  }

  /**
   * Keeps finished keys no longer than the option `retention` says. Asked by every call, as the pool
   * through which it was done may have been closed.
   */
  #prune() {
    const { retention } = this.#settings;
    if (retention !== undefined) {
      const { table, native } = this.#database;
      keepPruning(table, native, retention, (error) =>
        warn(this.__container__, `keys could not be pruned: ${error.message}`),
      );
    }
  }

  /** Whose connections a service uses: a root manager of another database means another one. */
  static #ownerOf(service) {
    const origin = service.#origin;
    const sameDatabase = service.activeManager_?.connection === origin.activeManager_?.connection;
    return service.transactionManager_ && !sameDatabase ? service : origin;
  }
}

function setKey(payload, key) {
  try {
    payload.idempotency_key = key;
  } catch {
    // One that is frozen stays as it is.
    Reflect.set(payload, "idempotency_key", key);
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
    return { retrieve: [keyText(keyOrSelector)] };
  }
  const constraints = JSON.stringify(keyOrSelector);
  const alternatives = JSON.stringify(alternativesOf(keyOrSelector));
  return { select: [constraints, alternatives] };
}

function duration(signature, value) {
  return millisecondsFrom(value, (message) =>
    medusaError("invalid_argument", `${signature}: olderThan ${message}`),
  );
}

/**
 * What a project's function says of a request that was interrupted.
 *
 * @param {Function} onInterrupted the option
 * @param {string} key
 * @param {{ method?: string, params?: unknown, path?: string }} given of the request
 */
async function decisionOf(onInterrupted, key, { method, params, path }) {
  const url = currentRequest()?.path;
  const decision = await onInterrupted({ key, method, params, path, url });
  if (!ON_INTERRUPTED.includes(decision)) {
    throw medusaError(
      "invalid_argument",
      `onInterrupted has to answer one of ${ON_INTERRUPTED.join(", ")}, not ${typeof decision}`,
      "invalid_option",
    );
  }
  return decision;
}

/** @param {number} otherwise what holds where nothing is given */
function maxDurationOf(max, otherwise) {
  const milliseconds = millisecondsFrom(max ?? otherwise, (message) =>
    medusaError("invalid_argument", `keepAlive(max): max ${message}`),
  );
  if (milliseconds === 0) {
    throw medusaError("invalid_argument", "keepAlive(max): max has to be longer than 0 ms");
  }
  return milliseconds;
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

module.exports = { IdempotencyKeyService };
