import type { HttpOptions, IdempotencyKeyService, TransactionManager } from "../../index";
import type { StagedWork, Stages } from "./adapters";

export type { StageOrAnswer, StagedWork, Stages } from "./adapters";

/** The options of the plugin. */
export interface IdempotencyPluginOptions<Native = any> extends HttpOptions<Native> {
  service: IdempotencyKeyService<any>;
}

/**
 * Plugin for Fastify: keeps the answers of the routes of the scope that it is registered in, and replays them.
 * Registering fails with `invalid_argument` for wrong options.
 *
 * @example
 * await app.register(idempotency, { service, scope: (request) => request.user.id });
 */
export declare function idempotency(app: any, options: IdempotencyPluginOptions): Promise<void>;

/**
 * A handler for Fastify. Its work gets the transaction in which its answer is stored, the
 * request, and the attempt. What the work throws rolls it back, and goes to the framework's error handling. Throws
 * `invalid_argument` for options and stages that are none.
 *
 * @example
 * app.post(
 *   "/orders",
 *   staged(service, async (tx, request) => {
 *     const { cartId } = request.body;
 *     await tx.query("INSERT INTO orders (cart_id) VALUES ($1)", [cartId]);
 *     return { status: 201, body: { cartId } };
 *   }),
 * );
 */
export declare function staged<Native = any, Manager = TransactionManager>(
  service: IdempotencyKeyService<Manager>,
  work: StagedWork<Native, Manager> | Stages<Native, Manager>,
  options?: HttpOptions<Native>,
): (request: any, reply: any) => Promise<any>;
