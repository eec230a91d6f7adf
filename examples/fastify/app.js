// Orders with Fastify: an order and its answer are written in one transaction.

import Fastify from "fastify";
import pg from "pg";
import { createIdempotency } from "medusa-idempotency-key";
import { staged } from "medusa-idempotency-key/fastify";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const service = createIdempotency({ databaseUrl: process.env.DATABASE_URL });
await service.migrate();
await pool.query("CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, item text NOT NULL)");

const options = {
  required: true,
  // Keys of two tenants never meet. In earnest: from who has logged in.
  scope: (request) => request.headers["x-tenant"],
};

async function placeOrder(tx, request) {
  const sql = "INSERT INTO orders (item) VALUES ($1) RETURNING id, item";
  const [order] = await tx.query(sql, [request.body.item]);
  return { status: 201, headers: { Location: `/orders/${order.id}` }, body: order };
}

const body = { type: "object", required: ["item"], properties: { item: { type: "string" } } };

const app = Fastify();
app.post("/orders", { schema: { body } }, staged(service, placeOrder, options));
app.get("/orders", async () => {
  const { rows } = await pool.query("SELECT id, item FROM orders ORDER BY id");
  return rows;
});

const port = Number(process.env.PORT ?? 3000);
await app.listen({ port });
console.log(`http://localhost:${port}/orders is served by process ${process.pid}`);
