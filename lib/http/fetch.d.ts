import type { HttpOptions, IdempotencyKeyService, TransactionManager } from "../../index";
import type { StagedWork, Stages } from "./adapters";

export type { StageOrAnswer, StagedWork, Stages } from "./adapters";

/** A handler of the Fetch standard: a route of Next.js, a loader or action, what Bun and Deno serve. */
export type FetchHandler<Rest extends any[] = any[]> = (
  request: any,
  ...rest: Rest
) => Response | Promise<Response>;

/**
 * What wraps a handler: keeps its answers, and replays them. Throws `invalid_argument` for wrong options.
 *
 * @example
 * const idempotent = idempotency(service, { scope: (request) => userOf(request) });
 * export const POST = idempotent(async (request) => Response.json(await order(request)));
 */
export declare function idempotency<Native = any>(
  service: IdempotencyKeyService<any>,
  options?: HttpOptions<Native>,
): <Rest extends any[]>(
  handler: FetchHandler<Rest>,
) => (request: Request, ...rest: Rest) => Promise<Response>;

/**
 * A handler of the Fetch standard. Its work gets the transaction in which its answer is stored, the
 * request, and the attempt. What the work throws rolls it back, and goes to the framework's error handling. Throws
 * `invalid_argument` for options and stages that are none.
 *
 * @example
 * export const POST = staged(service, async (tx, request) => {
 *   const { cartId } = await request.json();
 *   await tx.query("INSERT INTO orders (cart_id) VALUES ($1)", [cartId]);
 *   return { status: 201, body: { cartId } };
 * });
 */
export declare function staged<Native = any, Manager = TransactionManager>(
  service: IdempotencyKeyService<Manager>,
  work: StagedWork<Native, Manager> | Stages<Native, Manager>,
  options?: HttpOptions<Native>,
): (request: Request) => Promise<Response>;
