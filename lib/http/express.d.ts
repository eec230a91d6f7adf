import type { HttpOptions, IdempotencyKeyService, TransactionManager } from "../../index";
import type { StagedWork, Stages } from "./adapters";

export type { StageOrAnswer, StagedWork, Stages } from "./adapters";

/**
 * Middleware for Express 4 and 5, behind the body's parser and before the routes: keeps the answers of their
 * handlers, whatever way they are sent, and replays them. Throws `invalid_argument` for wrong options.
 *
 * @example
 * app.use(express.json(), idempotency(service, { scope: (req) => req.user.id }));
 */
export declare function idempotency<Native = any>(
  service: IdempotencyKeyService<any>,
  options?: HttpOptions<Native>,
): (req: any, res: any, next: (error?: any) => void) => void;

/**
 * A handler for Express 4 and 5. Its work gets the transaction in which its answer is stored, the
 * request, and the attempt. What the work throws rolls it back, and goes to the framework's error handling. Throws
 * `invalid_argument` for options and stages that are none.
 *
 * @example
 * app.post(
 *   "/orders",
 *   staged(service, async (tx, req) => {
 *     const { cartId } = req.body;
 *     await tx.query("INSERT INTO orders (cart_id) VALUES ($1)", [cartId]);
 *     return { status: 201, body: { cartId } };
 *   }),
 * );
 */
export declare function staged<Native = any, Manager = TransactionManager>(
  service: IdempotencyKeyService<Manager>,
  work: StagedWork<Native, Manager> | Stages<Native, Manager>,
  options?: HttpOptions<Native>,
): (req: any, res: any, next: (error?: any) => void) => void;
