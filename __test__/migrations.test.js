"use strict";

const { randomUUID } = require("node:crypto");
const path = require("node:path");
const { DataSource } = require("typeorm");
const { rejection, useDatabase } = require("./helpers/database");
const { reused } = require("./helpers/flows");

const MIGRATIONS = path.join(__dirname, "../migrations/*.js");

const database = useDatabase();
let dataSource;

afterEach(() => dataSource?.destroy());

/** A DataSource as Medusa's runner makes one of a plugin's migrations. */
async function open(schema) {
  dataSource = new DataSource({
    type: "postgres",
    url: database.url,
    schema,
    migrations: [MIGRATIONS],
    migrationsTableName: "migrations",
  });
  await dataSource.initialize();
  return dataSource;
}

/** A service on a table in a schema of its own, with or without the column. */
async function table(schema, withColumn) {
  const service = database.service({ schema });
  await service.migrate();
  if (!withColumn) {
    await database.pool.query(
      `ALTER TABLE "${schema.replaceAll('"', '""')}".idempotency_key
       DROP COLUMN request_fingerprint`,
    );
  }
  return service;
}

async function column(schema) {
  const { rows } = await database.pool.query(
    `SELECT data_type, is_nullable, column_default FROM information_schema.columns
     WHERE table_schema = $1 AND table_name = 'idempotency_key'
       AND column_name = 'request_fingerprint'`,
    [schema],
  );
  return rows;
}

const NULLABLE_TEXT = [
  { data_type: "character varying", is_nullable: "YES", column_default: null },
];

const cases = [
  ["a plain schema", "shop"],
  ["a schema that needs quoting", "My Shop; -- keys"],
].flatMap(([what, schema]) => [
  [`${what}, without the column`, schema, false],
  [`${what}, with the column`, `${schema}!`, true],
]);

test.each(cases)("goes up and down, again and again: %s", async (_, schema, withColumn) => {
  const service = await table(schema, withColumn);
  await service.create({ idempotency_key: "kept" });
  const source = await open(schema);
  for (let round = 0; round < 2; round += 1) {
    expect(await source.runMigrations()).toHaveLength(1);
    expect(await column(schema)).toEqual(NULLABLE_TEXT);
    expect(await source.runMigrations()).toEqual([]);
    await source.undoLastMigration();
    expect(await column(schema)).toEqual([]);
    await source.undoLastMigration();
  }
  expect(await service.retrieve("kept")).toMatchObject({ idempotency_key: "kept" });
});

test("runs where the schema is the connection's own", async () => {
  const source = await open();
  await database.pool.query("ALTER TABLE idempotency_key DROP COLUMN request_fingerprint");
  await source.runMigrations();
  expect(await column("public")).toEqual(NULLABLE_TEXT);
  await source.undoLastMigration();
  expect(await column("public")).toEqual([]);
  await database.service().migrate();
  expect(await column("public")).toEqual(NULLABLE_TEXT);
});

// What TypeORM's own table of migrations cannot lie in.
test.each(["twice", 'a "quoted" schema', "a.b"])(
  "each step may be taken twice: %s",
  async (schema) => {
    const [Migration] = Object.values(
      require("../migrations/1763769600000-add-request-fingerprint"),
    );
    await table(schema, false);
    const runner = (await open(schema)).createQueryRunner();
    const migration = new Migration();
    expect(migration.name).toBe(Migration.name);
    await migration.up(runner);
    await migration.up(runner);
    expect(await column(schema)).toEqual(NULLABLE_TEXT);
    await migration.down(runner);
    await migration.down(runner);
    expect(await column(schema)).toEqual([]);
    await runner.release();
  },
);

test("bodies are compared after it, and what Medusa selects stays the same", async () => {
  await table("used", false);
  await (await open("used")).runMigrations();
  const service = database.service({ schema: "used" });
  const request = (body) => ({ key: "used", method: "POST", path: "/", body });
  const stages = { started: () => ({ response_code: 200 }) };
  await service.runStages(request({ a: 1 }), stages);
  expect(await rejection(service.runStages(request({ a: 2 }), stages))).toMatchObject(reused);
  expect(Object.keys(await service.retrieve("used"))).toHaveLength(10);
});

test("a process that goes on while it is undone notices it", async () => {
  const service = await table("undone", true);
  const source = await open("undone");
  await source.runMigrations();
  const run = (body) =>
    service.runStages(
      { key: randomUUID(), method: "POST", path: "/", body },
      { started: () => ({}) },
    );
  await run({ a: 1 });
  await source.undoLastMigration();
  expect(await rejection(run({ a: 1 }))).toMatchObject({ code: "42703" });
  expect(await run({ a: 1 })).toMatchObject({ replayed: false });
});
