import type { Attempt } from "../../index";

/** A value, or a promise of it. */
export type Awaitable<T> = T | Promise<T>;

/**
 * The options of every adapter. `Native` is the framework's own request: Express' and Fastify's request, Koa's and
 * Hono's context, the standard's `Request`. Unknown options and wrong values throw `invalid_argument` with the code
 * `invalid_option` when the adapter is set up. See docs/http.md.
 */
export interface IdempotencyHttpOptions<Native = any> {
  /**
   * Whether a request without a key is answered 400.
   *
   * @default false
   */
  required?: boolean;
  /**
   * The methods whose requests are covered; others pass by.
   *
   * @default ["POST", "PATCH"]
   */
  methods?: readonly string[];
  /**
   * The request header with the key.
   *
   * @default "Idempotency-Key"
   */
  header?: string;
  /** Whose request it is: two scopes never meet. Null or undefined: nobody's in particular. */
  scope?: (request: Native) => Awaitable<string | null | undefined>;
  /** What is compared in place of the body: any JSON value; or the paths in the body that are left out. */
  fingerprint?: ((request: Native) => unknown) | { omit: readonly string[] };
  /**
   * Whether an answer with such a status is kept; the request of any other can be tried again.
   *
   * @default in the capturing form 200 to 499 without 409, 425 and 429; in the staged form all
   */
  keep?: (status: number) => boolean;
  /**
   * The response header of replays, whose value is `true`; false: none.
   *
   * @default "Idempotent-Replayed"
   */
  replayedHeader?: string | false;
  /** The key, in place of the header's: a webhook's event id. */
  keyFrom?: (request: Native) => Awaitable<string | null | undefined>;
  /**
   * Whether requests with another query are other requests.
   *
   * @default true
   */
  query?: boolean;
  /**
   * Bytes of a body that is kept at most. The request of a longer one is finished without it.
   *
   * @default 1_048_576
   */
  maxResponseBytes?: number;
  /**
   * What is done while the database cannot be reached: `"refuse"` answers 503 with `Retry-After`; `"run"` runs the
   * handler without protection, and warns.
   *
   * @default "refuse"
   */
  onUnavailable?: "refuse" | "run";
}

/** The answer of the staged form's work. */
export interface StagedAnswer {
  /** @default 200, or 204 without a body */
  status?: number;
  headers?: Record<string, string | number | readonly string[] | undefined>;
  /** Text and bytes are sent as they are; any other value as JSON. */
  body?: unknown;
}

/** The result of one stage: where its request goes on, or its answer. */
export type StageOrAnswer = { recovery_point: string } | StagedAnswer;

/** The work of a request in one stage. `tx` is its transaction. */
export type StagedWork<Native, Manager> = (
  tx: Manager,
  request: Native,
  attempt: Attempt,
) => Awaitable<StagedAnswer>;

/** The work of a request in stages: for each recovery point the function that goes on from there. */
export type Stages<Native, Manager> = Record<
  string,
  (tx: Manager, request: Native, attempt: Attempt) => Awaitable<StageOrAnswer>
>;
