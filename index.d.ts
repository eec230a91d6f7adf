/** A key, as every method resolves to it: a plain object with the ten columns of the table. */
export interface IdempotencyKey {
  /** `ikey_` and a ULID. */
  id: string;
  /** The client sends it again with a retry. */
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
  /** From `"started"` to `"finished"`. */
  recovery_point: string;
}

/** The argument of {@link IdempotencyKeyService.create}. Any column may be given; other names are ignored. */
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

/** The argument of {@link IdempotencyKeyService.update}: `undefined` leaves a column, `null` clears it. */
export type UpdateIdempotencyKeyInput = Partial<CreateIdempotencyKeyInput>;

/** The answer of a finished request. */
export interface IdempotencyAnswer {
  /** HTTP status, a whole number from 100 to 599. Default: 200 if there is a body, else none. */
  response_code?: number | null;
  /** Any JSON value. */
  response_body?: unknown;
}

/**
 * The result of a stage's callback: a plain object with these properties and no others. Anything else
 * rejects with `invalid_data`, and the stage is rolled back. In mode `"medusa"` other properties are ignored.
 */
export interface IdempotencyCallbackResult extends IdempotencyAnswer {
  /** The next stage starts here. Without it the request is finished, with the given answer. */
  recovery_point?: string | null;
}

/**
 * How an attempt at a request began:
 *
 * - `"new"`: it is the first one;
 * - `"released"`: the last one failed or was released, or the key was made by `create()`;
 * - `"interrupted"`: the lease of an earlier one ran out. Its process died or hung, or it took longer than
 *   `maxDuration`: its effects outside of the database may have happened;
 * - `"finished"`: the answer is stored, and there is nothing to do.
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

/** A TypeORM operator, such as `Not(In(["started", "finished"]))` or `Raw("now()")`. */
export interface FindOperatorLike {
  readonly "@instanceof": symbol;
}

type SelectorValue<T> = T | T[] | SelectorOperators<T> | FindOperatorLike | null;

/** Conditions on columns. All have to hold. */
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

/**
 * The object through which a library opens transactions, by what its callbacks get: an EntityManager of TypeORM or
 * MikroORM, a knex, a Kysely, a `db` of Drizzle, a PrismaClient, a Sequelize, a pool of `pg`, a `sql` of postgres.js.
 */
export type TransactionRoot<Tx = any> =
  | { $transaction(work: (tx: Tx) => Promise<any>, options?: any): any }
  | { transactional(work: (tx: Tx) => any, options?: any): any }
  | { transaction(): { execute(work: (tx: Tx) => Promise<any>): any } }
  // `Tx & {}`: any function that returns a promise fits, so what is inferred here counts less than a callback's type.
  | { getQueryInterface(): any; transaction(options?: object): Promise<Tx & {}> }
  | { begin(options: string, work: (tx: Tx) => any): any }
  | { transaction(isolation: "SERIALIZABLE", work: (tx: Tx) => Promise<any>): any }
  | { transaction(work: (tx: Tx) => Promise<any>, options?: any): any }
  | { totalCount: number; connect(connected: (error: any, client: Tx | undefined) => void): any };

/** What the callbacks of the transactions get that a library opens through an object. */
export type TransactionOf<Root> = Root extends {
  $transaction(work: (tx: infer Tx) => any, options?: any): any;
}
  ? Tx
  : Root extends { transactional(work: (tx: infer Tx) => any, options?: any): any }
    ? Tx
    : Root extends { transaction(): { execute(work: (tx: infer Tx) => any): any } }
      ? Tx
      : Root extends { getQueryInterface(): any; transaction(options?: any): Promise<infer Tx> }
        ? Tx
        : Root extends { begin(options: string, work: (tx: infer Tx) => any): any }
          ? Tx
          : Root extends {
                transaction(isolation: "SERIALIZABLE", work: (tx: infer Tx) => any): any;
              }
            ? Tx
            : Root extends { transaction(work: (tx: infer Tx) => any, options?: any): any }
              ? Tx
              : Root extends {
                    totalCount: number;
                    connect(connected: (error: any, client: infer Tx, release: any) => void): any;
                  }
                ? NonNullable<Tx>
                : any;

/** The second constructor argument. Unknown options and wrong values are refused at construction. */
export interface IdempotencyKeyOptions {
  /**
   * The object through which the application's library opens transactions ({@link TransactionRoot}): stages then run
   * in transactions of that library's, and their callbacks get its handle. Single calls run on connections of the
   * service's own, to the same database. See docs/transactions.md.
   *
   * @default the container's `manager`
   */
  manager?: TransactionRoot;
  /**
   * `"exactly-once"`: the client's key is stored, a key belongs to one request only,
   * one attempt at a time works on it, and a finished key never runs again. `"medusa"`: Medusa's own
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
   * Stages that run at once. One more connection is kept for single statements. Services of one
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
   * How often a stage whose transaction the service opens, itself or through a library, is repeated after a
   * serialization failure or a deadlock. 0: never. In mode `"medusa"` no stage is that a library opens the
   * transaction of.
   *
   * @default 3
   */
  maxRetries?: number;
  /**
   * The most callers that share one statement: single statements of concurrent callers are sent
   * together.
   *
   * @default 512
   */
  maxBatchSize?: number;
  /**
   * The most bytes that callers send in one statement; a single caller may send more.
   *
   * @default 1_048_576
   */
  maxBatchBytes?: number;
  /**
   * The most callers in the queue; further callers wait for room, in order.
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
   * A duration: how long a request's lease is renewed while its handler has not ended the response. After
   * that the lease runs out, and a warning names the route. Not in mode `"medusa"`.
   *
   * @default 300_000 Five minutes: proxies and clients have given up by then.
   */
  maxDuration?: Duration;
  /**
   * What a retry does with a request that was interrupted before it reached any recovery point. `"retry"`:
   * it does the work again. `"refuse"`: it rejects with `conflict`, code `idempotency_key_interrupted`, until
   * somebody calls {@link IdempotencyKeyService.release} or stores an answer. A function decides for each such
   * request. Requests of `runStages`, and those that have reached a recovery point, continue from there. Not in mode
   * `"medusa"`.
   *
   * @default "retry"
   */
  onInterrupted?:
    | "retry"
    | "refuse"
    | ((request: InterruptedRequest) => "retry" | "refuse" | Promise<"retry" | "refuse">);
  /**
   * Whether `runStages` commits the key of a new request before its first stage. By default the transaction of the
   * first stage inserts it: one commit less, and nothing is left of a first stage that fails; but nobody sees the
   * request before that commit. Where `onInterrupted` is not `"retry"`, the key is always committed first. Not in
   * mode `"medusa"`.
   *
   * @default false
   */
  commitKeyFirst?: boolean;
  /**
   * Milliseconds that an unbound `initializeRequest`, `begin` or `runStages` waits for the request
   * in progress before it rejects with `conflict`. Not in mode `"medusa"`.
   *
   * @default 0
   */
  waitTimeout?: number;
  /**
   * How long a call waits until a connection is open; with several hosts each has its share.
   *
   * @default 10000
   */
  connectTimeout?: Duration;
  /**
   * How long a statement of the service's own may take. After that whether it ran is unknown, and its connection is
   * closed.
   *
   * @default 30000
   */
  statementTimeout?: Duration;
  /**
   * How long a call waits for a free connection, and a stage for its turn among `maxConnections`.
   *
   * @default 30000
   */
  acquireTimeout?: Duration;
  /**
   * How long finished keys are kept before they are deleted in the background, as
   * {@link IdempotencyKeyService.prune} does. Without it they are kept for ever.
   */
  retention?: Duration;
}

/** The argument of the function in the option `onInterrupted`. */
export interface InterruptedRequest {
  key: string;
  method?: string | null;
  params?: unknown;
  path?: string | null;
  /** Full path of the HTTP request, without its query, if the middleware is mounted. */
  url?: string;
}

/** Medusa's container, or the cradle of one of awilix'. The options come after it. */
export type MedusaContainer = {
  [Option in Exclude<keyof IdempotencyKeyOptions, "manager">]?: never;
} & {
  [name: string]: any;
};

/** Medusa passes it to a project's own services, in the place of a plugin's options. */
export interface MedusaConfigModule {
  projectConfig: object;
}

/** The request, for {@link IdempotencyKeyService.runStages} and {@link IdempotencyKeyService.begin}. */
export interface StagedRequest {
  /** The client's `Idempotency-Key`; generated if it is missing or empty. */
  key?: string | null;
  method?: string | null;
  /** The route's parameters: any JSON value. */
  params?: unknown;
  path?: string | null;
  /** Compared with the first request's, if the table has the column `request_fingerprint`. */
  body?: unknown;
}

/** The result of {@link IdempotencyKeyService.runStages}. */
export interface StagedResponse {
  idempotency_key: string;
  response_code: number | null;
  response_body: any;
  /** True if the request was finished before: this is the stored answer, and no stage has run. */
  replayed: boolean;
  /** How this attempt began; undefined in mode `"medusa"`, unless it was finished before. */
  began: Beginning | undefined;
}

/** The request, for {@link IdempotencyKeyService.handle}. */
export interface HandleRequest<Native = any> {
  /** The client's key. Without it the option `keyFrom` or the header is asked. */
  key?: string | null;
  method: string;
  /** May have the query. */
  path: string;
  /** The query as text or parsed, if the path does not have it. */
  query?: unknown;
  /** The route's parameters: any JSON value. */
  params?: unknown;
  /** As it was parsed. */
  body?: unknown;
  /** The tenant, in place of the option `scope`; `null`: none. */
  scope?: string | null;
  /** With names in lower case. */
  headers?: Record<string, string | string[] | undefined>;
  /** What the options' functions get in place of this object. */
  native?: Native;
}

/** Which requests are covered, how they are told apart, and which answers are kept. See docs/http.md. */
export interface HttpOptions<Request = any> {
  /**
   * Whether a request without a key is refused with 400.
   *
   * @default false
   */
  required?: boolean;
  /**
   * Methods of requests that the capturing form covers. Others pass.
   *
   * @default ["POST", "PATCH"]
   */
  methods?: string[];
  /**
   * The header with the client's key.
   *
   * @default "Idempotency-Key"
   */
  header?: string;
  /** Returns the key, in place of the header: such as a webhook's event id. */
  keyFrom?: (request: Request) => MaybePromise<string | null | undefined>;
  /** Returns the tenant. Two scopes never meet; without one all clients are one. An empty text is refused. */
  scope?: (request: Request) => MaybePromise<string | null | undefined>;
  /**
   * Whether the query belongs to what is compared.
   *
   * @default true
   */
  query?: boolean;
  /**
   * What is compared in place of the body: a JSON value that a function returns, or the body without some paths
   * (`"items.0.id"`).
   */
  fingerprint?: ((request: Request) => unknown) | { omit: string[] };
  /**
   * Whether an answer with this status is kept. One that is not is sent, and the request's retry runs again. Default:
   * all answers of {@link IdempotencyKeyService.handle}; 2xx to 4xx but 409, 425 and 429 in the capturing form.
   */
  keep?: (status: number) => boolean;
  /**
   * The header of replays. `false`: none.
   *
   * @default "Idempotent-Replayed"
   */
  replayedHeader?: string | false;
  /**
   * The longest body that is kept, in bytes. The retry of a longer one is answered with 410, and its work is not done
   * again.
   *
   * @default 1_048_576
   */
  maxResponseBytes?: number;
  /**
   * What becomes of requests while the database cannot be reached. `"refuse"`: 503. `"run"`: they run without
   * protection against repeats, and a warning says so.
   *
   * @default "refuse"
   */
  onUnavailable?: "refuse" | "run";
}

type MaybePromise<T> = T | Promise<T>;

/** The answer that a request's work returns. */
export interface HandleAnswer {
  /**
   * 200 to 599.
   *
   * @default 200
   */
  status?: number;
  /** `Set-Cookie` is sent, but not kept. */
  headers?: Record<string, string | number | readonly string[] | undefined>;
  /** Text, bytes, or a value that is sent as JSON. `null` and `undefined` are no body. */
  body?: unknown;
}

/** The result of {@link IdempotencyKeyService.handle}: the response to send. */
export interface HandleResult {
  status: number;
  /** With names in lower case. */
  headers: Record<string, string | string[]>;
  /** Text, a Buffer, or null if there is none. */
  body: string | Uint8Array | null;
  /** True if it is the stored answer. */
  replayed: boolean;
  /** The client's key; null if it is missing or malformed. */
  idempotency_key: string | null;
}

/**
 * The work of a request: a function, or one for each recovery point. With `onUnavailable: "run"` they may get neither a
 * transaction nor a key nor an attempt.
 */
export type HandleWork<Manager = any> =
  | ((manager: Manager, attempt: Attempt) => MaybePromise<HandleAnswer>)
  | Record<
      string,
      (
        manager: Manager,
        key: IdempotencyKey,
        attempt: Attempt,
      ) => MaybePromise<HandleAnswer | { recovery_point: string }>
    >;

/**
 * One attempt at a request. It holds a lease of its key, which keeps other attempts away until the request is
 * finished or released. The lease lasts for `leaseTimeout` unless it is renewed: by `keepAlive()`, or by the
 * middleware until the handler has ended its response.
 */
export interface Attempt {
  /** The key, as last seen. `update`, `lock` and `workStage` take it for calls of this attempt. */
  readonly key: IdempotencyKey;
  readonly idempotency_key: string;
  /** Undefined in mode `"medusa"`, unless the request was finished before. */
  readonly began: Beginning | undefined;

  /**
   * Renews the lease until the request is finished or released, for `max` (default: the option `maxDuration`)
   * from now at most. After that the lease runs out, and a retry begins the request as interrupted. The timer does
   * not keep the process alive, and a blocked event loop renews nothing. Throws `invalid_argument` if `max` is not
   * a duration.
   */
  keepAlive(max?: Duration): this;

  /**
   * Finishes the request and stores its answer, which retries get from then on.
   *
   * Rejects with `conflict` and changes nothing if this attempt has ended the request already (code
   * `idempotency_key_finished` or `idempotency_key_released`) or if another attempt has taken it over
   * (`lease_lost`); with `invalid_data` if the answer is malformed.
   */
  finish(answer: IdempotencyAnswer): Promise<IdempotencyKey>;

  /** Ends the attempt, so that the request can be tried again at once. Rejects as `finish` does. */
  release(): Promise<IdempotencyKey>;
}

/** The properties that Express, Koa, Fastify and Nest read of an error: those of the package http-errors. */
export interface HttpErrorSignature {
  /** Status of the response: 400, 404, 409, 422, 500, or 503 if the database cannot be reached. */
  status: number;
  statusCode: number;
  /** Whether the client may see the message: true below 500. */
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
  /** Distinguishes errors of one type. */
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

/** The connection failed. The code is a system error's, such as `"ECONNREFUSED"`, or an SQLSTATE. */
export interface ConnectionError extends Error {
  code: string;
}

/** The errors that {@link isIdempotencyError} recognises. */
export type IdempotencyError =
  MedusaError | QueryFailedError | ConnectionError | (Error & { code?: undefined });

/** Codes of {@link MedusaError}; other codes are SQLSTATEs and codes of system errors. */
export type IdempotencyErrorCode =
  | "idempotency_key_in_use"
  | "idempotency_key_interrupted"
  | "idempotency_key_finished"
  | "idempotency_key_released"
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
 * Whether a value is an error of this package, in whichever copy of it, including errors of the database
 * that it reports; and, if a code is given, whether the error has that code. An error that your own
 * function has thrown is not.
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

/** The transaction of a stage. The stage's callback receives it. */
export declare class TransactionManager {
  private constructor();

  /** Whether a value is a manager of one of this package's own transactions. */
  static isTransactionManager(value: unknown): value is TransactionManager;

  /**
   * Runs one statement in the transaction. Resolves to its rows as `pg` returns them. The server
   * infers the types of the parameters, so `where id = $1` needs no casts.
   *
   * Rejects with {@link QueryFailedError}; with `invalid_argument` if the statement would begin
   * or end the transaction; with `unexpected_state` (code `transaction_ended`) after the end of the
   * stage.
   */
  query<Row = any>(sql: string, parameters?: readonly unknown[]): Promise<Row[]>;

  /**
   * Runs work in a savepoint: if the work rejects, it is rolled back and the transaction continues.
   * Savepoints have no isolation of their own: as in TypeORM, a given level is only checked.
   */
  transaction<T>(work: (manager: TransactionManager) => Promise<T> | T): Promise<T>;
  transaction<T>(
    isolation: IsolationLevel,
    work: (manager: TransactionManager) => Promise<T> | T,
  ): Promise<T>;

  readonly queryRunner: {
    /** False once the transaction has ended. */
    readonly isTransactionActive: boolean;
    /** Rolls back at once. The stage then rejects with `unexpected_state`. */
    rollbackTransaction(): Promise<void>;
  };
}

/**
 * Keeps idempotency keys in PostgreSQL, as Medusa v1's service of the same name does.
 *
 * A method that returns a promise never throws synchronously. Errors of the database reject as
 * {@link QueryFailedError}. A failed connection rejects as an Error whose `code` is a system error's
 * or an SQLSTATE and whose message names host, port and database.
 */
export declare class IdempotencyKeyService<Manager = any> {
  /** The lifetime with which awilix, and so Medusa, registers the service. Set it in a subclass. */
  static LIFE_TIME?: "SINGLETON" | "SCOPED" | "TRANSIENT";

  /**
   * @param container Medusa's container, or `{}`
   * @param options the options, or Medusa's config module
   * @example
   * const service = new IdempotencyKeyService({}, { databaseUrl: "postgres://localhost/shop" });
   */
  constructor(
    container?: MedusaContainer | null,
    options?:
      (IdempotencyKeyOptions & { manager?: TransactionRoot<Manager> }) | MedusaConfigModule | null,
    moduleDeclaration?: any,
  );

  protected readonly __container__: any;
  protected readonly __configModule__?: any;
  protected readonly __moduleDeclaration__?: any;
  protected manager_: any;
  protected transactionManager_: any;
  /** The manager that calls use: the transaction's, else the container's. */
  protected get activeManager_(): any;

  /**
   * Returns the service bound to a transaction, by the handle that its library gives to it: its calls run in the
   * transaction, and the callbacks of its stages get that very handle. Without a handle, this service. A library's
   * root object ({@link TransactionRoot}) can be given in place of a handle.
   *
   * Its calls reject with `invalid_argument` (code `invalid_manager`) for what is no handle, and with
   * `unexpected_state` (code `transaction_ended`) once the transaction has ended.
   *
   * @example
   * await dataSource.transaction(async (manager) => {
   *   await service.withTransaction(manager).create({ request_path: "/orders" });
   * });
   */
  withTransaction(transactionManager?: null): this;
  withTransaction<Handle>(transactionManager: Handle): IdempotencyKeyService<Handle> & this;

  /**
   * Inserts a key. It resolves to what is stored, also where a trigger has changed it; JSON columns are the
   * values that were given.
   *
   * Rejects with SQLSTATE `23505` if the key exists; with `invalid_data` for a name that is nearly a column's
   * (`recoveryPoint`).
   */
  create(payload: CreateIdempotencyKeyInput): Promise<IdempotencyKey>;

  /**
   * Begins the request of a key, continues one that failed or whose process died, or finds the answer
   * of one that is finished. Without a key it generates one.
   *
   * Rejects with `conflict` (code `idempotency_key_in_use`) while the request is in progress; with `conflict`
   * (`idempotency_key_interrupted`) if the option `onInterrupted` refuses the request; with
   * `duplicate_error` (`idempotency_key_reused`) if the key belongs to another request, with another method,
   * path, parameters or body (a value that either side does not have is not compared); with `invalid_data`
   * (`invalid_idempotency_key`) unless the key is 1 to 255 visible ASCII characters, or such text in
   * quotes.
   *
   * In mode `"medusa"` an unknown key is replaced by a generated one, and nothing of this is
   * checked.
   */
  initializeRequest(
    headerKey: string | null | undefined,
    method?: string | null,
    params?: unknown,
    path?: string | null,
  ): Promise<IdempotencyKey>;

  /**
   * Begins a request as {@link IdempotencyKeyService.initializeRequest} does, with the same errors, and resolves
   * to the attempt: for work that is not an HTTP request of the middleware, such as a job.
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
   * made with a key; undefined if there is none.
   */
  attemptOf(key: string | IdempotencyKey): Attempt | undefined;

  /**
   * Ends a key's lease, so that its request can be tried again at once: the lease of the key's attempt, or
   * one that has run out. The latter releases an interrupted request.
   *
   * Rejects with `conflict` and changes nothing while another attempt works on the request (code
   * `idempotency_key_in_use`), if another attempt has taken it over (`lease_lost`), or if it is finished
   * (`idempotency_key_finished`) or released already (`idempotency_key_released`); with `not_found` if there
   * is no such key.
   */
  release(key: string | IdempotencyKey): Promise<IdempotencyKey>;

  /**
   * Finds a key, or the one key that a selector describes: equality, `null`, an array for "one of",
   * Medusa's and TypeORM's operators, and an array of selectors for "or".
   *
   * Rejects with `not_found` if there is no such key; with a plain Error if several keys match.
   */
  retrieve(
    keyOrSelector: string | IdempotencyKeySelector | IdempotencyKeySelector[],
  ): Promise<IdempotencyKey>;

  /**
   * Locks a key for `lockTimeout` milliseconds on the database's clock. Of any number of callers in
   * any number of processes one wins. Right after `initializeRequest` the attempt that began the request
   * may lock its key, once.
   *
   * Rejects with `conflict` for the other callers; with `not_found` if there is no such key.
   */
  lock(key: string | IdempotencyKey): Promise<IdempotencyKey>;

  /**
   * Changes columns of a key; the key itself may be renamed. The recovery point `"finished"` ends the
   * request's lease. Resolves to what was given as `create` does.
   *
   * Rejects with `not_found` if there is no such key; with `conflict` (code `lease_lost`) if another attempt has
   * taken the request over; with `conflict` (code `55P03`) if a stage holds the key's row for longer than 10 s.
   */
  update(key: string | IdempotencyKey, update: UpdateIdempotencyKeyInput): Promise<IdempotencyKey>;

  /**
   * Runs one stage of a key's request. What the callback does with its manager and the key's new
   * state commit together, or not at all. The key's row is locked first, so two stages of one key
   * never overlap.
   *
   * Give the key as the object that a method has resolved to: then the stage runs only while the key
   * is still at that object's recovery point, and two requests of one process are told apart. If
   * the key has moved on or is finished, the callback is not called, and the promise resolves to the current
   * key.
   *
   * Rejects with `not_found` before the callback runs; with the callback's own error; with
   * `conflict`, code `idempotency_key_in_use` while another attempt works on the request, `lease_lost`
   * if another attempt has taken it over. A failed stage releases the request's lease. A stage
   * whose transaction the service opens, itself or through a library, is repeated up to `maxRetries` times after
   * SQLSTATE `40001` or `40P01`.
   *
   * In mode `"medusa"` a finished key runs again, and a stage waits for another stage of its key.
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
   * Begins a request and runs its stages in order, from its key's recovery point until the request is
   * finished. `stages` maps a recovery point to the function that continues from there. The function gets the
   * manager as the callback of {@link IdempotencyKeyService.workStage} does, the key and the attempt. The key of a
   * new request is inserted in the transaction of its first stage (see `commitKeyFirst`). The lease is renewed while
   * the stages run, for `maxDuration` at most, and released if one fails.
   *
   * Rejects as `initializeRequest` and `workStage` do; with `invalid_argument` (code `unknown_recovery_point`) for
   * a recovery point without a function, either before any work or after a rollback of the stage that returned it.
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
   * Answers an HTTP request with an idempotency key. The work runs once, and commits in one transaction with its
   * answer; a retry gets the stored answer, byte for byte; a request that is refused gets problem details
   * (docs/problems.md). Stages and the lease are as in {@link IdempotencyKeyService.runStages}. Works in the
   * transaction that the service is bound to, too.
   *
   * Rejects with what the work throws, which is rolled back, and whose request can be tried again at once; with
   * `invalid_data` for a result that cannot be sent; with `invalid_argument` for a wrong argument, a wrong option
   * (`invalid_option`) or a service in mode `"medusa"`.
   *
   * @example
   * const { status, headers, body } = await service.handle(
   *   { method: req.method, path: req.originalUrl, body: req.body, headers: req.headers },
   *   async (manager) => {
   *     await manager.query("INSERT INTO orders (cart_id) VALUES ($1)", [req.body.cartId]);
   *     return { status: 201, body: { ok: true } };
   *   },
   *   { required: true, scope: () => req.user.tenantId },
   * );
   * res.status(status).set(headers).end(body);
   */
  handle<Native = any>(
    request: HandleRequest<Native>,
    work: HandleWork<Manager>,
    options?: HttpOptions<Native>,
  ): Promise<HandleResult>;

  /**
   * A key for a stage's calls to other services, such as a payment provider: the same for every attempt at
   * the stage, and different for every other stage and key. A UUID, version 5. Throws `invalid_argument` if the
   * stage has no name.
   */
  stageKey(key: string | IdempotencyKey, stage: string): string;

  /**
   * Finds keys of requests that stopped half-way: unfinished, without a live lease, and without a sign of life
   * for `olderThan` (default: `leaseTimeout`). The oldest come first, at most `limit` (default 100). With
   * `interrupted` it finds only requests whose lease ran out, until they are released or finished. Their
   * `locked_at` is the last sign of life; it is null for a request that failed and was released.
   */
  listStalled(options?: {
    olderThan?: Duration;
    limit?: number;
    interrupted?: boolean;
  }): Promise<IdempotencyKey[]>;

  /**
   * Deletes finished keys that were created more than `olderThan` ago (default: the option
   * `retention`), about `batchSize` at a time (default 1000), and resolves to their number. Several
   * processes may prune at once; no request waits for it.
   *
   * @example
   * const deleted = await service.prune({ olderThan: "72h" });
   */
  prune(options?: { olderThan?: Duration; batchSize?: number }): Promise<number>;

  /** Whether a transaction may be repeated after this error. */
  shouldRetryTransaction_(error: any): boolean;

  /**
   * Runs work in the transaction that the service is bound to, or in a new one. With an
   * isolation level, a new one is repeated once after SQLSTATE `40001` or `40P01`. An error
   * handler is called with the error, which is then rethrown.
   */
  protected atomicPhase_<T>(
    work: (manager: Manager) => Promise<T> | T,
    isolation?: IsolationLevel | null,
    errorHandler?: (error: any) => Promise<unknown> | unknown,
  ): Promise<T>;
  /** With a truthy third argument, it resolves to the handler's result instead. */
  protected atomicPhase_<T>(
    work: (manager: Manager) => Promise<T> | T,
    errorHandler: (error: any) => Promise<T | void> | T | void,
    dontFail?: unknown,
  ): Promise<T>;

  /**
   * Creates the table, its unique index and its schema if they are missing, and adds the columns
   * `request_fingerprint` and `response_headers` to a table without them.
   */
  migrate(): Promise<void>;

  /**
   * Ends this service. The last service of the process on a database closes the connections once the
   * calls that still run have ended; after 30 s it rejects with `unexpected_state`.
   */
  close(): Promise<void>;
}

/**
 * A service without a container: the same as `new IdempotencyKeyService({}, options)`.
 *
 * @example
 * const idempotency = createIdempotency({ databaseUrl: "postgres://localhost/shop" });
 * await idempotency.migrate();
 */
export declare function createIdempotency<Root extends TransactionRoot>(
  options: IdempotencyKeyOptions & { manager: Root },
): IdempotencyKeyService<TransactionOf<Root>>;
export declare function createIdempotency<Manager = TransactionManager>(
  options?: IdempotencyKeyOptions | null,
): IdempotencyKeyService<Manager>;

/**
 * Express middleware by which the service knows which request its calls are made for. It distinguishes the
 * requests of one process, renews a request's lease until the handler has ended the response (also after the
 * client has gone), releases the lease if the request is not finished by then, and includes the body in the
 * comparison of requests. In a Medusa backend the plugin mounts it.
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
