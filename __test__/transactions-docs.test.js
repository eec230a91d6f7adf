/** @jest-environment ./__test__/helpers/libraries-environment.js */
"use strict";

// Every block of docs/transactions.md, as it is printed, with its library.

const { IdempotencyKeyService } = require("..");
const { sqlStateOf } = require("../lib/errors/sql-state");
const { rejection, useDatabase } = require("./helpers/database");
const { blocksOf } = require("./helpers/documents");
const { load } = require("./helpers/libraries/load");

const database = useDatabase();
const blocks = blocksOf("docs/transactions.md");
const used = new Set();

beforeAll(() => database.pool.query("CREATE TABLE orders (item text CHECK (item <> 'sold out'))"));
beforeEach(() => database.pool.query("TRUNCATE orders, idempotency_key"));

/** What the one block that has a text in it defines under a name. */
function defined(name, text, given) {
  const found = blocks.filter(({ code }) => code.includes(text) && code.includes(`${name}(`));
  expect(found).toHaveLength(1);
  used.add(found[0]);
  const names = ["IdempotencyKeyService", "service", ...Object.keys(given)];
  class Service extends IdempotencyKeyService {
    constructor(...args) {
      super(...args);
      database.closed(this);
    }
  }
  const values = [Service, database.service(), ...Object.values(given)];
  return new Function(...names, `${found[0].code}\nreturn ${name};`)(...values);
}

/** Places an order three times, of which the first try fails. */
async function expectOnce(placeOrder) {
  expect(sqlStateOf(await rejection(placeOrder("order-1", "sold out")))).toBe("23514");
  expect(await placeOrder("order-1", "tea")).toMatchObject({ replayed: false });
  expect(await placeOrder("order-1", "tea")).toMatchObject({
    response_code: 201,
    response_body: { item: "tea" },
    replayed: true,
  });
  expect((await database.pool.query("SELECT item FROM orders")).rows).toEqual([{ item: "tea" }]);
}

async function openPool() {
  const { Pool } = await load("pg");
  const pool = new Pool({ connectionString: database.url });
  database.closed({ close: () => pool.end() });
  return pool;
}

test("pg", async () => {
  await expectOnce(defined("placeOrder", "pool.connect()", { pool: await openPool() }));
});

test("pg, with the pool as root", async () => {
  await expectOnce(defined("placeOrderThroughPool", "ofPool", { pool: await openPool() }));
});

test("postgres.js", async () => {
  const { default: postgres } = await load("postgres");
  const sql = postgres(database.url);
  database.closed({ close: () => sql.end() });
  await expectOnce(defined("placeOrder", "sql.begin", { sql }));
});

test("Drizzle", async () => {
  const { drizzle } = await load("drizzle-orm/node-postgres");
  const { pgTable, text } = await load("drizzle-orm/pg-core");
  const given = {
    db: drizzle({ client: await openPool() }),
    orders: pgTable("orders", { item: text("item") }),
  };
  await expectOnce(defined("placeOrder", "db.transaction((tx)", given));
});

test("TypeORM", async () => {
  const { DataSource } = await load("typeorm");
  const dataSource = new DataSource({ type: "postgres", url: database.url });
  await dataSource.initialize();
  database.closed({ close: () => dataSource.destroy() });
  await expectOnce(defined("placeOrder", "dataSource.transaction", { dataSource }));
});

test.each(["previous", "newest"])("MikroORM, %s", async (folder) => {
  const { EntitySchema, MikroORM } = await load("@mikro-orm/postgresql", folder);
  const Order = new EntitySchema({
    name: "Order",
    tableName: "orders",
    properties: { item: { type: "string", primary: true } },
  });
  const orm = await MikroORM.init({ clientUrl: database.url, entities: [Order] });
  database.closed(orm);
  await expectOnce(defined("placeOrder", "orm.em.fork()", { orm, Order }));
});

test("knex", async () => {
  const { knex: connect } = await load("knex");
  const knex = connect({ client: "pg", connection: database.url });
  database.closed({ close: () => knex.destroy() });
  await expectOnce(defined("placeOrder", "knex.transaction", { knex }));
});

test("Kysely", async () => {
  const { Kysely, PostgresDialect } = await load("kysely");
  const { Pool } = await load("pg");
  const pool = new Pool({ connectionString: database.url });
  const db = new Kysely({ dialect: new PostgresDialect({ pool }) });
  database.closed({ close: () => db.destroy() });
  await expectOnce(defined("placeOrder", "db.transaction().execute", { db }));
});

test("Sequelize", async () => {
  const { Sequelize } = await load("sequelize");
  const sequelize = new Sequelize(database.url, { logging: false });
  database.closed(sequelize);
  const columns = { item: { type: "text", primaryKey: true } };
  const Order = sequelize.define("Order", columns, { tableName: "orders", timestamps: false });
  await expectOnce(defined("placeOrder", "sequelize.transaction", { sequelize, Order }));
});

test.each(["previous", "newest"])("Prisma, %s", async (folder) => {
  const { PrismaPg } = await load("@prisma/adapter-pg", folder);
  const { PrismaClient } = await load("./generated/index.js", folder);
  const adapter = new PrismaPg({ connectionString: database.url });
  const prisma = new PrismaClient({ adapter });
  database.closed({ close: () => prisma.$disconnect() });
  await expectOnce(defined("placeOrder", "prisma.$transaction", { prisma }));
});

test("no block is left out", () => {
  expect(blocks.filter((block) => !used.has(block))).toEqual([]);
});
