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

beforeAll(() => database.pool.query("CREATE TABLE orders (item text NOT NULL)"));
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
  expect(sqlStateOf(await rejection(placeOrder("order-1", null)))).toBe("23502");
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
  await expectOnce(defined("placeOrder", "db.transaction", given));
});

test("no block is left out", () => {
  expect(blocks.filter((block) => !used.has(block))).toEqual([]);
});
