/** The routes to check. What is not given is not checked: the cases that need it are skipped. */
export interface ConformanceTarget {
  /** A route that takes a key, and answers a success. With `method` and `body` it does its work. */
  url: string;
  /** @default "POST" */
  method?: string;
  /** The body of requests, which is sent as JSON. */
  body?: unknown;
  /** The body of another request of the same route. */
  otherBody?: unknown;
  /** Headers of every request, such as `Authorization`. */
  headers?: Record<string, string>;
  /**
   * The request header with the key.
   *
   * @default "Idempotency-Key"
   */
  header?: string;
  /** How often the work of the routes was done, all in all: the rows that it has written, say. */
  effects?: () => number | Promise<number>;
  /** Headers of two tenants, instead of `headers` where they have the same names. */
  scopes?: [Record<string, string>, Record<string, string>];
  /** True if `url` may be asked without a key. */
  optional?: boolean;
  /** A route that refuses requests without a key. All of these may be relative to `url`. */
  required?: string;
  /** A route of another operation. */
  elsewhere?: string;
  /** A route that takes some time for its work: longer than a request takes to arrive; a second, say. */
  slow?: string;
  /** A route that does its work, and answers with a status from 400 to 499. */
  refusing?: string;
  /** A route that does its work, and answers with a status of 500 or above. */
  failing?: string;
  /** A route that answers more than is kept. */
  large?: string;
}

/** A rule, and how it is checked. */
export interface ConformanceCase {
  id: string;
  /** Where the rule is from: a section of the draft, Stripe, or common practice. */
  source: string;
  level: "MUST" | "SHOULD" | "MAY";
  given: string;
  when: string;
  then: string;
}

export interface ConformanceResult extends ConformanceCase {
  outcome: "passed" | "failed" | "skipped";
  /** Why it has failed, or was skipped. */
  reason?: string;
}

/** All cases, in the order in which they are run. */
export declare const cases: readonly ConformanceCase[];

/**
 * Checks routes over HTTP, one case after the other, each with a key of its own. A route that does not conform, or
 * cannot be reached, is a result, too: it never rejects for that.
 *
 * @example
 * const { failed, results } = await conformance({ url: "http://localhost:3000/orders", body: { cartId: "c1" } });
 * results.filter(({ outcome }) => outcome === "failed").forEach(({ id, reason }) => console.log(id, reason));
 */
export declare function conformance(target: ConformanceTarget): Promise<{
  passed: number;
  failed: number;
  skipped: number;
  results: ConformanceResult[];
}>;
