import type { HttpOptions, IdempotencyKeyService, TransactionManager } from "../../index";
import type { StagedWork, Stages } from "./adapters";

export type { StageOrAnswer, StagedWork, Stages } from "./adapters";

/** The options of the interceptor. */
export interface IdempotencyInterceptorOptions<Native = any> extends HttpOptions<Native> {
  /**
   * Whether handlers without {@link Idempotent} pass by.
   *
   * @default false
   */
  onlyDecorated?: boolean;
}

/**
 * Interceptor for Nest, on Express and on Fastify: keeps the answers of handlers, and replays them. Throws
 * `invalid_argument` for wrong options.
 *
 * @example
 * app.useGlobalInterceptors(new IdempotencyInterceptor(service));
 */
export declare class IdempotencyInterceptor {
  constructor(service: IdempotencyKeyService<any>, options?: IdempotencyInterceptorOptions);
  /** Called by Nest. */
  intercept(context: any, next: any): Promise<any>;
}

/**
 * Decorates a handler or a controller: options in place of the interceptor's, or false for what is to pass by. Throws
 * `invalid_argument` for wrong options.
 *
 * @example
 * @Post()
 * @Idempotent({ required: true })
 * create(@Body() order: Order) {
 *   return this.orders.create(order);
 * }
 */
export declare function Idempotent(options?: HttpOptions | false): MethodDecorator & ClassDecorator;

/**
 * What a handler calls with the platform's request and response. Its work gets the transaction in which its answer is stored, the
 * request, and the attempt. What the work throws rolls it back, and goes to the framework's error handling. Throws
 * `invalid_argument` for options and stages that are none.
 *
 * @example
 * private readonly order = staged(service, async (tx, request: Request) => {
 *   await tx.query("INSERT INTO orders (cart_id) VALUES ($1)", [request.body.cartId]);
 *   return { status: 201, body: { cartId: request.body.cartId } };
 * });
 *
 * @Post()
 * create(@Req() request: Request, @Res() response: Response) {
 *   return this.order(request, response);
 * }
 */
export declare function staged<Native = any, Manager = TransactionManager>(
  service: IdempotencyKeyService<Manager>,
  work: StagedWork<Native, Manager> | Stages<Native, Manager>,
  options?: HttpOptions<Native>,
): (request: any, response: any) => Promise<void>;
