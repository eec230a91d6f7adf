// Orders with Hono: the handlers stay as they are, and their answers are kept.

import { serve } from "@hono/node-server";
import { Hono } from "hono";
import pg from "pg";
import { createIdempotency } from "medusa-idempotency-key";
import { idempotency } from "medusa-idempotency-key/hono";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const service = createIdempotency({
  databaseUrl: process.env.DATABASE_URL,
  // A process that dies may have placed the order already: its retry is refused, not done twice.
  onInterrupted: "refuse",
  leaseTimeout: 2000,
});
await service.migrate();
await pool.query("CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, item text NOT NULL)");

const options = {
  required: true,
  // Keys of two tenants never meet. In earnest: from who has logged in.
  scope: (c) => c.req.header("X-Tenant"),
};

const app = new Hono();
app.use(idempotency(service, options));
app.post("/orders", async (c) => {
  const { item } = await c.req.json();
  const sql = "INSERT INTO orders (item) VALUES ($1) RETURNING id, item";
  const { rows } = await pool.query(sql, [item]);
  return c.json(rows[0], 201, { Location: `/orders/${rows[0].id}` });
});
app.get("/orders", async (c) => {
  const { rows } = await pool.query("SELECT id, item FROM orders ORDER BY id");
  return c.json(rows);
});

const port = Number(process.env.PORT ?? 3000);
serve({ fetch: app.fetch, port }, () => {
  console.log(`http://localhost:${port}/orders is served by process ${process.pid}`);
});
