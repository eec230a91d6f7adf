// Orders with Next.js: an order and its answer are written in one transaction.

import { staged } from "medusa-idempotency-key/fetch";
import { pool, service } from "../../database.js";

const options = {
  required: true,
  // Keys of two tenants never meet. In earnest: from who has logged in.
  scope: (request) => request.headers.get("X-Tenant"),
};

async function placeOrder(tx, request) {
  const { item } = await request.json();
  const sql = "INSERT INTO orders (item) VALUES ($1) RETURNING id, item";
  const [order] = await tx.query(sql, [item]);
  return { status: 201, headers: { Location: `/orders/${order.id}` }, body: order };
}

export const POST = staged(service, placeOrder, options);

export const dynamic = "force-dynamic";

export async function GET() {
  const { rows } = await pool.query("SELECT id, item FROM orders ORDER BY id");
  return Response.json(rows);
}
