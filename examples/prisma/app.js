// Orders with Prisma, on Express: an order and its answer are written in one transaction of Prisma's.

import { PrismaPg } from "@prisma/adapter-pg";
import express from "express";
import { createIdempotency } from "medusa-idempotency-key";
import { staged } from "medusa-idempotency-key/express";
import { PrismaClient } from "./generated/index.js";

const databaseUrl = process.env.DATABASE_URL;
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: databaseUrl }) });
// The service opens its transactions by prisma.$transaction(), so that handlers get Prisma's.
const service = createIdempotency({ manager: prisma, databaseUrl });
await service.migrate();
// In earnest: prisma migrate deploy.
await prisma.$executeRaw`
  CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, item text NOT NULL)`;

const options = {
  required: true,
  // Keys of two tenants never meet. In earnest: from who has logged in.
  scope: (req) => req.get("X-Tenant"),
};

async function placeOrder(tx, req) {
  const order = await tx.order.create({ data: { item: req.body.item } });
  return { status: 201, headers: { Location: `/orders/${order.id}` }, body: order };
}

const app = express();
app.use(express.json());
app.post("/orders", staged(service, placeOrder, options));
app.get("/orders", async (req, res) => {
  res.json(await prisma.order.findMany({ orderBy: { id: "asc" } }));
});

const port = Number(process.env.PORT ?? 3000);
app.listen(port, () => {
  console.log(`http://localhost:${port}/orders is served by process ${process.pid}`);
});
