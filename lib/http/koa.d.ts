import type { HttpOptions, IdempotencyKeyService, TransactionManager } from "../../index";
import type { StagedWork, Stages } from "./adapters";

export type { StageOrAnswer, StagedWork, Stages } from "./adapters";

/**
 * Middleware for Koa, behind the body's parser and before the routes: keeps their answers, and replays them. Throws
 * `invalid_argument` for wrong options.
 *
 * @example
 * app.use(bodyParser()).use(idempotency(service, { scope: (ctx) => ctx.state.user.id }));
 */
export declare function idempotency<Native = any>(
  service: IdempotencyKeyService<any>,
  options?: HttpOptions<Native>,
): (ctx: any, next: () => Promise<any>) => Promise<any>;

/**
 * Middleware for Koa that answers. Its work gets the transaction in which its answer is stored, the
 * request, and the attempt. What the work throws rolls it back, and goes to the framework's error handling. Throws
 * `invalid_argument` for options and stages that are none.
 *
 * @example
 * router.post(
 *   "/orders",
 *   staged(service, async (tx, ctx) => {
 *     const { cartId } = ctx.request.body;
 *     await tx.query("INSERT INTO orders (cart_id) VALUES ($1)", [cartId]);
 *     return { status: 201, body: { cartId } };
 *   }),
 * );
 */
export declare function staged<Native = any, Manager = TransactionManager>(
  service: IdempotencyKeyService<Manager>,
  work: StagedWork<Native, Manager> | Stages<Native, Manager>,
  options?: HttpOptions<Native>,
): (ctx: any) => Promise<void>;
