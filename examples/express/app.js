// Orders with Express: an order and its answer are written in one transaction.

import express from "express";
import pg from "pg";
import { createIdempotency } from "medusa-idempotency-key";
import { staged } from "medusa-idempotency-key/express";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const service = createIdempotency({ databaseUrl: process.env.DATABASE_URL });
await service.migrate();
await pool.query("CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, item text NOT NULL)");

const options = {
  required: true,
  // Keys of two tenants never meet. In earnest: from who has logged in.
  scope: (req) => req.get("X-Tenant"),
};

async function placeOrder(tx, req) {
  const sql = "INSERT INTO orders (item) VALUES ($1) RETURNING id, item";
  const [order] = await tx.query(sql, [req.body.item]);
  return { status: 201, headers: { Location: `/orders/${order.id}` }, body: order };
}

const app = express();
app.use(express.json());
app.post("/orders", staged(service, placeOrder, options));
app.get("/orders", async (req, res) => {
  const { rows } = await pool.query("SELECT id, item FROM orders ORDER BY id");
  res.json(rows);
});

const port = Number(process.env.PORT ?? 3000);
app.listen(port, () => {
  console.log(`http://localhost:${port}/orders is served by process ${process.pid}`);
});
