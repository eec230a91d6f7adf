/** A key, as every method resolves to it: a plain object with the ten columns of the table. */
export interface IdempotencyKey {
  /** `ikey_` and a ULID. */
  id: string;
  /** What the client repeats. */
  idempotency_key: string;
  created_at: Date;
  locked_at: Date | null;
  request_method: string | null;
  /** Any JSON value. */
  request_params: any;
  request_path: string | null;
  /** HTTP status of the stored answer. */
  response_code: number | null;
  /** Body of the stored answer: any JSON value. */
  response_body: any;
  /** `"started"` at first, `"finished"` at last. */
  recovery_point: string;
}

/** What {@link IdempotencyKeyService.create} takes. Any column may be given; the rest is ignored. */
export interface CreateIdempotencyKeyInput {
  request_method?: string | null;
  request_params?: unknown;
  request_path?: string | null;
  /** Generated when it is missing, and then written back into this object. */
  idempotency_key?: string | null;
  id?: string;
  created_at?: Date | string;
  locked_at?: Date | string | null;
  response_code?: number | null;
  response_body?: unknown;
  recovery_point?: string;
}

/** What {@link IdempotencyKeyService.update} takes: `undefined` leaves a column, `null` clears it. */
export type UpdateIdempotencyKeyInput = Partial<CreateIdempotencyKeyInput>;

/** An answer that a request is finished with. */
export interface IdempotencyAnswer {
  /** HTTP status, a whole number from 100 to 599. Default: 200 where there is a body, else none. */
  response_code?: number | null;
  /** Any JSON value. */
  response_body?: unknown;
}

/**
 * What the callback of a stage returns: a plain object with these properties and no others. Anything else
 * rejects with `invalid_data`, and the stage is undone. In mode `"medusa"` other properties are ignored.
 */
export interface IdempotencyCallbackResult extends IdempotencyAnswer {
  /** Where the request goes on. Without it the request is finished, with the answer given. */
  recovery_point?: string | null;
}

/**
 * How an attempt at a request began:
 *
 * - `"new"`: it is the first one;
 * - `"released"`: the last one failed or was released, or the key was made by `create()`;
 * - `"interrupted"`: the lease of an earlier one ran out. Its process died or hung, or it took longer than
 *   `maxDuration`: what it did outside of the database may have happened;
 * - `"finished"`: the request has its answer, and there is nothing to do.
 */
export type Beginning = "new" | "released" | "interrupted" | "finished";

/** Medusa's operators. The last three ignore case. */
export interface SelectorOperators<T> {
  gt?: T;
  gte?: T;
  lt?: T;
  lte?: T;
  contains?: string;
  starts_with?: string;
  ends_with?: string;
}

/** An operator of TypeORM's, such as `Not(In(["started", "finished"]))`. */
export interface FindOperatorLike {
  readonly "@instanceof": symbol;
}

type SelectorValue<T> = T | T[] | SelectorOperators<T> | FindOperatorLike | null;

/** Conditions on columns, all of which have to hold. */
export interface IdempotencyKeySelector {
  id?: SelectorValue<string>;
  idempotency_key?: SelectorValue<string>;
  created_at?: SelectorValue<Date | string>;
  locked_at?: SelectorValue<Date | string>;
  request_method?: SelectorValue<string>;
  request_params?: unknown;
  request_path?: SelectorValue<string>;
  response_code?: SelectorValue<number>;
  response_body?: unknown;
  recovery_point?: SelectorValue<string>;
}

export type IsolationLevel =
  "READ UNCOMMITTED" | "READ COMMITTED" | "REPEATABLE READ" | "SERIALIZABLE";

/** Milliseconds, or text such as `"72h"`, `"10m"` or `"1.5d"`. */
export type Duration = number | string;

/** The second constructor argument. Unknown options and wrong values are refused at construction. */
export interface IdempotencyKeyOptions {
  /**
   * `"exactly-once"`: the client's key is adopted, a key answers for one request only,
   * one caller at a time works on it, and a finished key never runs again. `"medusa"`: Medusa's own
   * request semantics, for a careful migration. See docs/exactly-once.md.
   *
   * @default "exactly-once"
   */
  mode?: "exactly-once" | "medusa";
  /**
   * `postgres://user:password@host:5432/database`.
   *
   * @default process.env.DATABASE_URL
   */
  databaseUrl?: string;
  /** Schema of the table. Without it, the connection's `search_path` finds the table. */
  schema?: string;
  /**
   * Stages that run at once. One connection more is kept for single statements. Services of one
   * process that name the same database share their connections.
   *
   * @default 4
   */
  maxConnections?: number;
  /**
   * Milliseconds that {@link IdempotencyKeyService.lock} holds.
   *
   * @default 1000
   */
  lockTimeout?: number;
  /**
   * Times a stage is repeated after a serialization failure or a deadlock. 0: never.
   *
   * @default 3
   */
  maxRetries?: number;
  /**
   * The most callers that share one statement: single statements of concurrent callers go to the
   * database together.
   *
   * @default 512
   */
  maxBatchSize?: number;
  /**
   * The most bytes that callers send in one statement; one alone may send more.
   *
   * @default 1_048_576
   */
  maxBatchBytes?: number;
  /**
   * The most callers that wait in the queue; more wait for room in it, in order.
   *
   * @default 16_384
   */
  maxQueued?: number;
  /**
   * Milliseconds that a request's lease holds after its last sign of life: how long a killed process
   * blocks the retry of its request. Not in mode `"medusa"`.
   *
   * @default 10_000
   */
  leaseTimeout?: number;
  /**
   * For how long a request's lease is renewed while its handler has not ended its response: a duration. After
   * that the lease has run out, and a warning names the route. Not in mode `"medusa"`.
   *
   * @default 300_000 Five minutes: proxies and clients have given up by then.
   */
  maxDuration?: Duration;
  /**
   * What happens to the retry of a request that was interrupted before it reached any recovery point. `"retry"`:
   * its work is done again. `"refuse"`: it rejects with `conflict`, code `idempotency_key_interrupted`, until
   * somebody calls {@link IdempotencyKeyService.release} or stores an answer. A function decides for each such
   * request. Requests of `runStages`, and those that have reached a recovery point, go on from there. Not in mode
   * `"medusa"`.
   *
   * @default "retry"
   */
  onInterrupted?:
    | "retry"
    | "refuse"
    | ((request: InterruptedRequest) => "retry" | "refuse" | Promise<"retry" | "refuse">);
  /**
   * Milliseconds that an unbound {@link IdempotencyKeyService.initializeRequest} waits for the request
   * in progress before it rejects with `conflict`. Not in mode `"medusa"`.
   *
   * @default 0
   */
  waitTimeout?: number;
  /**
   * How long finished keys are kept: what {@link IdempotencyKeyService.prune} then does by itself in
   * the background. Without it they are kept for ever.
   */
  retention?: Duration;
}

/** What the option `onInterrupted` is told of a request. */
export interface InterruptedRequest {
  key: string;
  method?: string | null;
  params?: unknown;
  path?: string | null;
  /** Path of the whole HTTP request, without its query, where the middleware knows of it. */
  url?: string;
}

/** Medusa's container, or the cradle of one of awilix'. The options come after it. */
export type MedusaContainer = { [Option in keyof IdempotencyKeyOptions]?: never } & {
  [name: string]: any;
};

/** What Medusa passes to a project's own services where a plugin's get their options. */
export interface MedusaConfigModule {
  projectConfig: object;
}

/** What {@link IdempotencyKeyService.runStages} and {@link IdempotencyKeyService.begin} are told of a request. */
export interface StagedRequest {
  /** What the client sent as `Idempotency-Key`; generated where it is missing or empty. */
  key?: string | null;
  method?: string | null;
  /** The route's parameters: any JSON value. */
  params?: unknown;
  path?: string | null;
  /** Compared with that of the first request, where the table has the column for it. */
  body?: unknown;
}

/** What {@link IdempotencyKeyService.runStages} resolves to. */
export interface StagedResponse {
  idempotency_key: string;
  response_code: number | null;
  response_body: any;
  /** The request was finished before: this is the answer of then, and no stage has run. */
  replayed: boolean;
  /** How this attempt began; undefined in mode `"medusa"`, unless it was finished before. */
  began: Beginning | undefined;
}

/**
 * One attempt at a request: its lifetime. It holds a lease of its key, which keeps other attempts away until the
 * request is finished or released; for `leaseTimeout`, unless it is kept alive. Within the middleware that is
 * done until the handler has ended its response.
 */
export interface Attempt {
  /** The key, as it is known now. `update`, `lock` and `workStage` take it for calls of this attempt. */
  readonly key: IdempotencyKey;
  readonly idempotency_key: string;
  /** Undefined in mode `"medusa"`, unless the request was finished before. */
  readonly began: Beginning | undefined;

  /**
   * Renews the lease until the request is finished or released, for `max` (default: the option `maxDuration`)
   * from now at most. After that the lease has run out: a retry begins the request as interrupted. The timer does
   * not keep the process alive, and a blocked event loop renews nothing. Throws `invalid_argument` for what is no
   * duration.
   */
  keepAlive(max?: Duration): this;

  /**
   * Finishes the request with an answer, which is replayed from then on.
   *
   * Rejects with `conflict` and changes nothing when the request has been ended by this attempt already (code
   * `idempotency_key_finished` or `idempotency_key_released`) or when another has taken it over (`lease_lost`);
   * with `invalid_data` for what is no answer.
   */
  finish(answer: IdempotencyAnswer): Promise<IdempotencyKey>;

  /** Ends the attempt, so that the request can be tried again at once. Rejects as `finish`. */
  release(): Promise<IdempotencyKey>;
}

/** What Express, Koa, Fastify and Nest read of an error, as of those that the package http-errors makes. */
export interface HttpErrorSignature {
  /** Of the response that it should become: 400, 404, 409, 422, 500, or 503 for a database out of reach. */
  status: number;
  statusCode: number;
  /** Whether the client may be told the message: below 500. */
  expose: boolean;
  /** `Retry-After`, in seconds, with 409 and 503. */
  headers?: Record<string, string>;
}

/** An error with Medusa's `type`, from which Medusa makes the status of the response. */
export interface MedusaError extends Error, HttpErrorSignature {
  type:
    | "not_found"
    | "conflict"
    | "duplicate_error"
    | "invalid_data"
    | "invalid_argument"
    | "unexpected_state";
  /** What to test for, where the type alone does not tell. */
  code?: string;
  date: Date;
}

/** An error that PostgreSQL reported. */
export interface QueryFailedError extends Error, HttpErrorSignature {
  name: "QueryFailedError";
  /** SQLSTATE, such as `"23505"`. */
  code: string;
  severity: string;
  detail?: string;
  hint?: string;
  schema?: string;
  table?: string;
  column?: string;
  dataType?: string;
  constraint?: string;
}

/** Trouble with the connection: a system error's code, such as `"ECONNREFUSED"`, or an SQLSTATE. */
export interface ConnectionError extends Error {
  code: string;
}

/** What {@link isIdempotencyError} tells from other errors. */
export type IdempotencyError =
  MedusaError | QueryFailedError | ConnectionError | (Error & { code?: undefined });

/** Codes of {@link MedusaError}; others are SQLSTATEs and those of system errors. */
export type IdempotencyErrorCode =
  | "idempotency_key_in_use"
  | "lease_lost"
  | "idempotency_key_reused"
  | "invalid_idempotency_key"
  | "unknown_recovery_point"
  | "invalid_option"
  | "no_database"
  | "invalid_manager"
  | "invalid_receiver"
  | "transaction_ended"
  | "overlapping_savepoints"
  | "stages_exhausted"
  | "service_closed"
  | "close_timeout"
  | (string & {});

/**
 * Whether a value is an error that this package has made, of itself or of what the database said, in
 * whichever copy of the package; and, if a code is given, whether it has that code. What your own
 * functions have thrown is none.
 *
 * @example
 * if (isIdempotencyError(error, "idempotency_key_in_use")) {
 *   return res.status(409).set("Retry-After", "1").end();
 * }
 */
export declare function isIdempotencyError<Code extends IdempotencyErrorCode>(
  error: unknown,
  code: Code,
): error is IdempotencyError & { code: Code };
export declare function isIdempotencyError(error: unknown): error is IdempotencyError;

/** The transaction of a stage, which its callback receives. */
export declare class TransactionManager {
  private constructor();

  /** Whether a value is a manager of one of this package's own transactions. */
  static isTransactionManager(value: unknown): value is TransactionManager;

  /**
   * Runs one statement in the transaction. Resolves to its rows as `pg` gives them; parameters are
   * of the types that the server infers, so `where id = $1` needs no casts.
   *
   * Rejects with {@link QueryFailedError}, with `invalid_argument` for statements that would begin
   * or end the transaction, and with `unexpected_state` (code `transaction_ended`) once the stage
   * has ended.
   */
  query<Row = any>(sql: string, parameters?: readonly unknown[]): Promise<Row[]>;

  /**
   * Runs work in a savepoint: if it rejects, what it did is undone and the transaction goes on.
   * Savepoints have no isolation of their own: a level given is checked, no more, as in TypeORM.
   */
  transaction<T>(work: (manager: TransactionManager) => Promise<T> | T): Promise<T>;
  transaction<T>(
    isolation: IsolationLevel,
    work: (manager: TransactionManager) => Promise<T> | T,
  ): Promise<T>;

  readonly queryRunner: {
    /** False once the transaction has ended. */
    readonly isTransactionActive: boolean;
    /** Rolls back at once; the stage then rejects with `unexpected_state`. */
    rollbackTransaction(): Promise<void>;
  };
}

/**
 * Keeps idempotency keys in PostgreSQL, as Medusa v1's service of the same name.
 *
 * No method throws synchronously: what is wrong rejects. Database errors reject as
 * {@link QueryFailedError}, trouble with the connection as an Error whose `code` is a system error
 * or an SQLSTATE and whose message names host, port and database.
 */
export declare class IdempotencyKeyService<Manager = any> {
  /** How awilix, and so Medusa, registers the service. Set it in a subclass. */
  static LIFE_TIME?: "SINGLETON" | "SCOPED" | "TRANSIENT";

  /**
   * @param container Medusa's container, or `{}`
   * @param options the options, or Medusa's config module
   * @example
   * const service = new IdempotencyKeyService({}, { databaseUrl: "postgres://localhost/shop" });
   */
  constructor(
    container?: MedusaContainer | null,
    options?: IdempotencyKeyOptions | MedusaConfigModule | null,
    moduleDeclaration?: any,
  );

  protected readonly __container__: any;
  protected readonly __configModule__?: any;
  protected readonly __moduleDeclaration__?: any;
  protected manager_: any;
  protected transactionManager_: any;
  /** The manager that calls run on: that of the transaction, else that of the container. */
  protected get activeManager_(): any;

  /**
   * This service in the transaction of a manager; without a manager, this service.
   *
   * @example
   * await dataSource.transaction(async (manager) => {
   *   await service.withTransaction(manager).create({ request_path: "/orders" });
   * });
   */
  withTransaction(transactionManager?: any): this;

  /**
   * Inserts a key. It resolves to the texts and the JSON that were given, whatever a trigger has made of
   * them.
   *
   * Rejects with SQLSTATE `23505` when it exists, with `invalid_data` for a name that is nearly a column's
   * (`recoveryPoint`).
   */
  create(payload: CreateIdempotencyKeyInput): Promise<IdempotencyKey>;

  /**
   * Begins the request of a key; goes on with one that failed or whose process died; finds the answer
   * of one that is finished. Without a key one is generated.
   *
   * Rejects with `conflict` (code `idempotency_key_in_use`) while the request is in progress, with `conflict`
   * (`idempotency_key_interrupted`) where the option `onInterrupted` says so, with
   * `duplicate_error` (`idempotency_key_reused`) when the key is another request's: another method,
   * path, parameters or body; what either side does not know is not compared. With `invalid_data`
   * (`invalid_idempotency_key`) unless the key is 1 to 255 visible ASCII characters, or such text in
   * quotes.
   *
   * In mode `"medusa"` a key that is not known is replaced by a generated one, and none of this is
   * checked.
   */
  initializeRequest(
    headerKey: string | null | undefined,
    method?: string | null,
    params?: unknown,
    path?: string | null,
  ): Promise<IdempotencyKey>;

  /**
   * Begins a request, as {@link IdempotencyKeyService.initializeRequest} does, and resolves to the attempt at it:
   * for work that is no HTTP request of the middleware's, such as a job or a webhook. Rejects likewise.
   *
   * @example
   * const attempt = await service.begin({ key: job.id, method: "JOB", path: "/payouts" });
   * if (attempt.began !== "finished") {
   *   attempt.keepAlive();
   *   await attempt.finish({ response_body: await payOut(job) });
   * }
   */
  begin(request: StagedRequest): Promise<Attempt>;

  /**
   * The attempt that a key object came from, or that the current HTTP request (without one: this process) has
   * made with a key; undefined where there is none.
   */
  attemptOf(key: string | IdempotencyKey): Attempt | undefined;

  /**
   * Ends a key's lease, so that its request can be tried again at once: that of the attempt that the key is of;
   * else one that has run out, which is how a request is released that was interrupted.
   *
   * Rejects with `conflict` and changes nothing while somebody else works on the request (code
   * `idempotency_key_in_use`), when another attempt has taken it over (`lease_lost`), when it is finished
   * (`idempotency_key_finished`) or released already (`idempotency_key_released`); with `not_found`.
   */
  release(key: string | IdempotencyKey): Promise<IdempotencyKey>;

  /**
   * Finds a key, or the one key that a selector describes: equality, `null`, an array for "one of",
   * Medusa's operators, TypeORM's, and an array of selectors for "or".
   *
   * Rejects with `not_found`; with a plain Error when several keys fit.
   */
  retrieve(
    keyOrSelector: string | IdempotencyKeySelector | IdempotencyKeySelector[],
  ): Promise<IdempotencyKey>;

  /**
   * Locks a key for `lockTimeout` milliseconds on the database's clock. Of any number of callers in
   * any number of processes one wins. Right after `initializeRequest` the flow that began the request
   * may lock its key, once.
   *
   * Rejects with `conflict` for the others, with `not_found`.
   */
  lock(key: string | IdempotencyKey): Promise<IdempotencyKey>;

  /**
   * Changes columns of a key; the key itself may be renamed. The recovery point `"finished"` ends the
   * request's lease. Resolves to what was given as `create` does.
   *
   * Rejects with `not_found`; with `conflict` (code `lease_lost`) when another flow has taken the
   * request over; with `conflict` (code `55P03`) when a stage holds the key's row for
   * longer than 10 s.
   */
  update(key: string | IdempotencyKey, update: UpdateIdempotencyKeyInput): Promise<IdempotencyKey>;

  /**
   * Runs one stage of a key's request. What the callback does with its manager and the key's new
   * state commit together, or not at all. The key's row is locked first, so two stages of one key
   * never overlap.
   *
   * Give the key as the object that a method has resolved to: then the stage runs only while the key
   * still stands at that object's recovery point, and two requests of one process are told apart. If
   * the request has gone on, and whenever it is finished, the callback is not called and the key
   * resolves as it is now.
   *
   * Rejects with `not_found` before the callback runs; with what the callback rejects with; with
   * `conflict`, code `idempotency_key_in_use` while somebody else works on the request, `lease_lost`
   * when another flow has taken it over. A failed stage releases the request's lease. A stage of an
   * unbound service is repeated up to `maxRetries` times after SQLSTATE `40001` or `40P01`.
   *
   * In mode `"medusa"` a finished key runs again, and a stage waits for another one of its key.
   *
   * @example
   * key = await service.workStage(key, async (manager) => {
   *   await manager.query("INSERT INTO orders (cart_id) VALUES ($1)", [cartId]);
   *   return { response_code: 201, response_body: { cartId } };
   * });
   */
  workStage(
    key: string | IdempotencyKey,
    callback: (manager: Manager) => Promise<IdempotencyCallbackResult> | IdempotencyCallbackResult,
  ): Promise<IdempotencyKey>;

  /**
   * Begins a request and runs its stages, one after the other, from where its key stands until it is
   * finished. `stages` maps a recovery point to the function that goes on from there; it gets what the
   * callback of {@link IdempotencyKeyService.workStage} gets, the key and the attempt. The lease is renewed while
   * it runs, for `maxDuration` at most, and released when it fails.
   *
   * Rejects as `initializeRequest` and `workStage`; with `invalid_argument` (code
   * `unknown_recovery_point`) for a recovery point without a function, before any work or with the
   * stage undone that led there.
   *
   * @example
   * const { response_code, response_body } = await service.runStages(
   *   { key: req.get("Idempotency-Key"), method: req.method, path: req.path, body: req.body },
   *   {
   *     started: async (manager) => {
   *       await manager.query("INSERT INTO orders (cart_id) VALUES ($1)", [req.body.cartId]);
   *       return { recovery_point: "ordered" };
   *     },
   *     ordered: () => ({ response_code: 201, response_body: { ok: true } }),
   *   },
   * );
   */
  runStages(
    request: StagedRequest,
    stages: Record<
      string,
      (
        manager: Manager,
        key: IdempotencyKey,
        attempt: Attempt,
      ) => Promise<IdempotencyCallbackResult> | IdempotencyCallbackResult
    >,
  ): Promise<StagedResponse>;

  /**
   * A key for the calls that a stage makes to others, such as a payment provider: the same for every
   * try of the stage, another one for every other stage and key. A UUID, version 5. Throws
   * `invalid_argument` when the stage has no name.
   */
  stageKey(key: string | IdempotencyKey, stage: string): string;

  /**
   * Finds keys of requests that stopped half-way: unfinished, without a live lease, and not heard of
   * for `olderThan` (default: `leaseTimeout`). The oldest first, `limit` of them (default 100). With
   * `interrupted` only those whose lease ran out, until they are released or finished: their `locked_at` tells
   * when; of a request that failed and was released it is null.
   */
  listStalled(options?: {
    olderThan?: Duration;
    limit?: number;
    interrupted?: boolean;
  }): Promise<IdempotencyKey[]>;

  /**
   * Deletes finished keys that were created more than `olderThan` ago (default: the option
   * `retention`), about `batchSize` at a time (default 1000), and resolves to their number. Several
   * processes may do it at once; no request waits for it.
   *
   * @example
   * const deleted = await service.prune({ olderThan: "72h" });
   */
  prune(options?: { olderThan?: Duration; batchSize?: number }): Promise<number>;

  /** Whether an error is one after which a transaction may be repeated. */
  shouldRetryTransaction_(error: any): boolean;

  /**
   * Runs work in the transaction that the service is bound to, or in one of its own. With an
   * isolation level, one of its own is repeated once after SQLSTATE `40001` or `40P01`. An error
   * handler is called with the error, which is then rethrown.
   */
  protected atomicPhase_<T>(
    work: (manager: Manager) => Promise<T> | T,
    isolation?: IsolationLevel | null,
    errorHandler?: (error: any) => Promise<unknown> | unknown,
  ): Promise<T>;
  /** With a third argument that is not falsy, the handler's result is resolved to instead. */
  protected atomicPhase_<T>(
    work: (manager: Manager) => Promise<T> | T,
    errorHandler: (error: any) => Promise<T | void> | T | void,
    dontFail?: unknown,
  ): Promise<T>;

  /**
   * Creates the table and its unique index where they are missing, and the schema with them; adds the
   * column `request_fingerprint` to a table that has none.
   */
  migrate(): Promise<void>;

  /**
   * Ends this service. The last service of the process on a database ends the connections, once the
   * calls that still run have ended; after 30 s it rejects with `unexpected_state`.
   */
  close(): Promise<void>;
}

/**
 * A service that needs no container: the same as `new IdempotencyKeyService({}, options)`.
 *
 * @example
 * const idempotency = createIdempotency({ databaseUrl: "postgres://localhost/shop" });
 * await idempotency.migrate();
 */
export declare function createIdempotency<Manager = TransactionManager>(
  options?: IdempotencyKeyOptions | null,
): IdempotencyKeyService<Manager>;

/**
 * Express middleware that lets the service know which request its calls are made for: it tells the
 * requests of one process apart, renews a request's lease until its handler has ended its response (also when
 * its client has gone), releases it if the request is not finished by then, and lets the body of a request be
 * compared. In a Medusa backend
 * the plugin mounts it.
 *
 * @example
 * app.use(express.json(), idempotencyMiddleware());
 */
export declare function idempotencyMiddleware(): (
  req: any,
  res: any,
  next: (error?: any) => void,
) => void;

export default IdempotencyKeyService;
