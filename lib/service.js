"use strict";

const { stageKey } = require("./bridge/binding");
const { medusaError } = require("./errors/errors");
const { isSerializationFailure } = require("./errors/sql-state");
const { EXCHANGE, openExchange } = require("./http/exchange");
const { handle } = require("./http/handle");
const { settingsFrom } = require("./options");
const { Context } = require("./places/context");
const { phaseOptionsFrom } = require("./places/phases");
const { attemptOf, begin } = require("./request/attempt");
const keys = require("./request/keys");
const { checkStages, requestOf, runStages } = require("./request/run-stages");
const { semanticsOf } = require("./request/semantics");
const { workStage } = require("./request/stages");
const {
  keyText,
  namedArguments,
  positiveInteger,
  requireBoolean,
  requireFunction,
} = require("./values/arguments");
const { registered } = require("./values/container");
const { millisecondsFrom } = require("./values/durations");

const RUN_STAGES = "runStages(request, stages)";
const LIST_STALLED = "listStalled({ olderThan, limit, interrupted })";
const PRUNE = "prune({ olderThan, batchSize })";
const LISTED_AT_MOST = 10_000;
const PRUNED_AT_ONCE = 100_000;

/**
 * Keeps idempotency keys in PostgreSQL, as Medusa v1's service of the same name. Types, options and errors are
 * those of index.d.ts; what is wrong with a call rejects, and is thrown only by methods that return no promise.
 */
class IdempotencyKeyService {
  #context;

  /**
   * @param {object} [container] Medusa's, or `{}`
   * @param {object} [options] checked here; or Medusa's config module, which has none
   * @param {unknown} [moduleDeclaration] Medusa's
   */
  constructor(container, options, moduleDeclaration) {
    const settings = settingsFrom(options, container);
    this.#context = new Context(this, settings, semanticsOf(settings));
    this.__container__ = container;
    this.__configModule__ = options;
    this.__moduleDeclaration__ = moduleDeclaration;
    this.manager_ = settings.manager ?? registered(container, "manager");
    this.transactionManager_ = undefined;
  }

  /** What calls run on: what the service is bound to, else the manager of its options or its container. */
  get activeManager_() {
    return this.transactionManager_ ?? this.manager_;
  }

  /**
   * This service in a transaction that somebody holds; without one, this service. What is no handle of a
   * transaction is refused by the calls: `invalid_argument`, code `invalid_manager`.
   */
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
    if (#context in bound) {
      bound.#context.bindFrom(this.#context);
    }
    return bound;
  }

  /**
   * Inserts a key and resolves to it. A missing one is generated and written back into the payload. Rejects with
   * SQLSTATE 23505 when it exists, with `invalid_data` for a name that is nearly a column's.
   */
  async create(payload) {
    const context = IdempotencyKeyService.#contextOf(this);
    context.semantics.requireColumns("create", payload);
    return keys.create(context, payload);
  }

  /**
   * Begins the request of a key; goes on with one that failed or whose process died; finds the answer of one that
   * is finished. Rejects with `conflict` while it is in progress, with `duplicate_error` for another request's
   * key, with `invalid_data` for what is no key.
   */
  async initializeRequest(headerKey, method, params, path) {
    const context = IdempotencyKeyService.#contextOf(this);
    return context.semantics.initialize(context, { key: headerKey, method, params, path });
  }

  /** Begins a request as `initializeRequest` does, and resolves to the attempt at it. */
  async begin(request) {
    const context = IdempotencyKeyService.#contextOf(this);
    return begin(context, requestOf("begin(request)", request));
  }

  /** The attempt that a key is of: a key object's own, or the current request's; undefined where there is none. */
  attemptOf(key) {
    const context = IdempotencyKeyService.#contextOf(this);
    keyText(key);
    return attemptOf(context, key);
  }

  /**
   * Ends a key's lease, so that its request can be tried again at once. Rejects with `conflict` while somebody
   * else works on the request or when it has ended, with `not_found`.
   */
  async release(key) {
    return keys.release(IdempotencyKeyService.#contextOf(this), key);
  }

  /**
   * Finds a key, or the one key that a selector describes. Rejects with `not_found`; with a plain Error when
   * several keys fit.
   */
  async retrieve(keyOrSelector) {
    return keys.retrieve(IdempotencyKeyService.#contextOf(this), keyOrSelector);
  }

  /** Locks a key for `lockTimeout` milliseconds. Rejects with `conflict` while it is locked, with `not_found`. */
  async lock(key) {
    return keys.lock(IdempotencyKeyService.#contextOf(this), key);
  }

  /**
   * Changes columns of a key: `undefined` leaves one, `null` clears it. Rejects with `not_found`, with `conflict`
   * (`lease_lost`) when another attempt has taken the request over.
   */
  async update(key, update) {
    const context = IdempotencyKeyService.#contextOf(this);
    keyText(key);
    context.semantics.requireColumns("update", update);
    return keys.update(context, key, update);
  }

  /**
   * Runs one stage of a key's request: what the callback does with its manager and the key's new state commit
   * together, or not at all. Rejects with what the callback rejects with, with `conflict` while somebody else
   * works on the request, with `not_found`.
   */
  async workStage(key, callback) {
    const context = IdempotencyKeyService.#contextOf(this);
    keyText(key);
    requireFunction("workStage(key, callback)", callback);
    return workStage(context, key, callback);
  }

  /**
   * Begins a request and runs its stages, a function for each recovery point, until it is finished; resolves to
   * its answer. Rejects as `initializeRequest` and `workStage`, with `unknown_recovery_point` for one without a
   * function.
   */
  async runStages(request, stages) {
    const context = IdempotencyKeyService.#contextOf(this);
    checkStages(RUN_STAGES, stages);
    return runStages(context, requestOf(RUN_STAGES, request), stages);
  }

  /**
   * Answers an HTTP request: runs its work once and stores the answer with it, in one transaction; replays the
   * stored one; or refuses the request, with problem details. Rejects with what the work rejects with.
   */
  async handle(request, work, options) {
    return handle(IdempotencyKeyService.#contextOf(this), request, work, options);
  }

  /** Begins the exchange of a request whose handler knows nothing of its key: for the adapters of frameworks. */
  [EXCHANGE](policy, request) {
    return openExchange(IdempotencyKeyService.#contextOf(this), policy, request);
  }

  /** A UUID for the calls that a stage makes to others: the same for every try of it. */
  stageKey(key, stage) {
    if (typeof stage !== "string" || stage === "") {
      throw medusaError("invalid_argument", "stageKey(key, stage): stage has to be its name");
    }
    return stageKey(keyText(key), stage);
  }

  /**
   * Finds keys of requests that stopped half-way and were not heard of for `olderThan` (a duration; default:
   * `leaseTimeout`): the oldest first, `limit` of them; with `interrupted` only those whose lease ran out.
   */
  async listStalled(options) {
    const database = IdempotencyKeyService.#contextOf(this).database();
    const names = ["olderThan", "limit", "interrupted"];
    const {
      olderThan,
      limit = 100,
      interrupted = false,
    } = namedArguments(LIST_STALLED, options, names);
    requireBoolean(`${LIST_STALLED}: interrupted`, interrupted);
    return database.listStalled({
      olderThan: duration(LIST_STALLED, olderThan ?? database.settings.leaseTimeout),
      limit: positiveInteger(`${LIST_STALLED}: limit`, limit, LISTED_AT_MOST),
      interrupted,
    });
  }

  /**
   * Deletes finished keys that were created more than `olderThan` ago (a duration; default: the option
   * `retention`), about `batchSize` at a time, and resolves to their number.
   */
  async prune(options) {
    const database = IdempotencyKeyService.#contextOf(this).database();
    const names = ["olderThan", "batchSize"];
    const { olderThan, batchSize = 1000 } = namedArguments(PRUNE, options, names);
    return database.prune({
      olderThan: duration(PRUNE, olderThan ?? database.settings.retention),
      batchSize: positiveInteger(`${PRUNE}: batchSize`, batchSize, PRUNED_AT_ONCE),
    });
  }

  /** Whether a transaction may be repeated after an error. */
  shouldRetryTransaction_(error) {
    return isSerializationFailure(error);
  }

  /**
   * Runs work in the transaction that the service is bound to, or in one of its own: as Medusa's, with an
   * isolation level and an error handler, or with a handler and whether to resolve to its result.
   */
  async atomicPhase_(work, isolationOrErrorHandler, errorHandlerOrDontFail) {
    const context = IdempotencyKeyService.#contextOf(this);
    requireFunction("atomicPhase_(work, …)", work);
    const mayRepeat = (error) => this.shouldRetryTransaction_(error);
    const options = phaseOptionsFrom(isolationOrErrorHandler, errorHandlerOrDontFail, mayRepeat);
    return context.place.phase(work, options);
  }

  /** Creates the schema, the table, its index and its optional columns where they are missing. */
  async migrate() {
    return IdempotencyKeyService.#contextOf(this).database().migrate();
  }

  /**
   * Ends this service. The last one of the process on a database ends the connections, once its calls have ended;
   * after 30 s it rejects with `unexpected_state`.
   */
  async close() {
    return IdempotencyKeyService.#contextOf(this).close();
  }

  /** Refuses to work as a method of something else, with code `invalid_receiver`. */
  static #contextOf(service) {
    if (!(#context in Object(service))) {
      throw medusaError(
        "invalid_argument",
        "a method of IdempotencyKeyService was called on another object: call it as service.method()",
        "invalid_receiver",
      );
    }
    return service.#context;
  }
}

function duration(signature, value) {
  return millisecondsFrom(value, (message) =>
    medusaError("invalid_argument", `${signature}: olderThan ${message}`),
  );
}

/** A service that needs no container, as an application without Medusa makes it. */
function createIdempotency(options) {
  return new IdempotencyKeyService({}, options);
}

module.exports = { IdempotencyKeyService, createIdempotency };
