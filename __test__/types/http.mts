// Compiled, never run: the adapters as TypeScript users write them, with none of the frameworks' types.

import { createIdempotency } from "../../index.mjs";
import * as express from "../../lib/http/express.js";
import { idempotency as plugin, type IdempotencyPluginOptions } from "../../lib/http/fastify.js";
import * as fetches from "../../lib/http/fetch.js";
import * as hono from "../../lib/http/hono.js";
import * as koa from "../../lib/http/koa.js";
import { Idempotent, IdempotencyInterceptor, staged } from "../../lib/http/nest.js";

interface Req {
  user: { id: string };
  body: { cartId: string };
}

const service = createIdempotency();

const middleware = express.idempotency(service, {
  scope: (req: Req) => req.user.id,
  fingerprint: { omit: ["sentAt"] },
  replayedHeader: false,
});
middleware({}, {}, () => {});

express.staged(service, async (tx, req: Req, attempt) => {
  const [row] = await tx.query<{ id: string }>("SELECT $1 AS id", [req.body.cartId]);
  const key: string = attempt.idempotency_key;
  return { status: 201, headers: { "X-Key": key }, body: row };
});
express.staged(service, {
  started: async () => ({ recovery_point: "paid" }),
  paid: (_tx, req: Req) => ({ body: req.body.cartId }),
});

const options: IdempotencyPluginOptions = { service, required: true };
void plugin({}, options);

const POST: (request: Request, context: { params: object }) => Promise<Response> =
  fetches.idempotency(service)(async (_request: Request, _context: { params: object }) =>
    Response.json({}),
  );
const PUT: (request: Request) => Promise<Response> = fetches.staged(service, () => ({}));

class Orders {
  @Idempotent({ required: true })
  create(): void {}
}

void [POST, PUT, new Orders(), hono.idempotency(service), koa.idempotency(service)];
void [new IdempotencyInterceptor(service, { onlyDecorated: true }), staged(service, () => ({}))];

// @ts-expect-error misspelt
express.idempotency(service, { require: true });
// @ts-expect-error no service
express.idempotency({});
// @ts-expect-error no such policy
express.idempotency(service, { onUnavailable: "wait" });
