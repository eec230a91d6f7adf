// Orders with Nest: the handlers stay as they are, and the answers of those with @Idempotent() are kept.

import "reflect-metadata";
import { Body, Controller, Get, Module, Post, Res } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import pg from "pg";
import { createIdempotency } from "medusa-idempotency-key";
import { Idempotent, IdempotencyInterceptor } from "medusa-idempotency-key/nest";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const service = createIdempotency({
  databaseUrl: process.env.DATABASE_URL,
  // A process that dies may have placed the order already: its retry is refused, not done twice.
  onInterrupted: "refuse",
  leaseTimeout: 2000,
});
await service.migrate();
await pool.query("CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, item text NOT NULL)");

@Controller("orders")
class Orders {
  @Post()
  @Idempotent()
  async place(@Body() body: { item: string }, @Res({ passthrough: true }) response: any) {
    const sql = "INSERT INTO orders (item) VALUES ($1) RETURNING id, item";
    const { rows } = await pool.query(sql, [body.item]);
    response.location(`/orders/${rows[0].id}`);
    return rows[0];
  }

  @Get()
  async list() {
    const { rows } = await pool.query("SELECT id, item FROM orders ORDER BY id");
    return rows;
  }
}

@Module({ controllers: [Orders] })
class App {}

const app = await NestFactory.create(App, { logger: ["error", "warn"] });
app.useGlobalInterceptors(
  new IdempotencyInterceptor(service, {
    onlyDecorated: true,
    required: true,
    // Keys of two tenants never meet. In earnest: from who has logged in.
    scope: (request) => request.headers["x-tenant"],
  }),
);
const port = Number(process.env.PORT ?? 3000);
await app.listen(port);
console.log(`http://localhost:${port}/orders is served by process ${process.pid}`);
