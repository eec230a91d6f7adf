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

/** A service on a table in a schema of its own, with or without the columns. */
async function table(schema, withColumns) {
  const service = database.service({ schema });
  await service.migrate();
  if (!withColumns) {
    await database.pool.query(
      `ALTER TABLE "${schema.replaceAll('"', '""')}".idempotency_key
       DROP COLUMN request_fingerprint, DROP COLUMN response_headers`,
    );
  }
  return service;
}

async function columns(schema) {
  const { rows } = await database.pool.query(
    `SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns
     WHERE table_schema = $1 AND table_name = 'idempotency_key'
       AND column_name IN ('request_fingerprint', 'response_headers') ORDER BY column_name`,
    [schema],
  );
  return rows;
}

const nullable = (column_name, data_type) => [
  { column_name, data_type, is_nullable: "YES", column_default: null },
];
const FINGERPRINT = nullable("request_fingerprint", "character varying");
const HEADERS = nullable("response_headers", "jsonb");
const BOTH = [...FINGERPRINT, ...HEADERS];

const cases = [
  ["a plain schema", "shop"],
  ["a schema that needs quoting", "My Shop; -- keys"],
].flatMap(([what, schema]) => [
  [`${what}, without the columns`, schema, false],
  [`${what}, with the columns`, `${schema}!`, true],
]);

test.each(cases)("goes up and down, again and again: %s", async (_, schema, withColumns) => {
  const service = await table(schema, withColumns);
  await service.create({ idempotency_key: "kept" });
  const source = await open(schema);
  for (let round = 0; round < 2; round += 1) {
    expect(await source.runMigrations()).toHaveLength(2);
    expect(await columns(schema)).toEqual(BOTH);
    expect(await source.runMigrations()).toEqual([]);
    await source.undoLastMigration();
    expect(await columns(schema)).toEqual(FINGERPRINT);
    await source.undoLastMigration();
    expect(await columns(schema)).toEqual([]);
    await source.undoLastMigration();
  }
  expect(await service.retrieve("kept")).toMatchObject({ idempotency_key: "kept" });
});

test("runs where the schema is the connection's own", async () => {
  const source = await open();
  await database.pool.query(
    "ALTER TABLE idempotency_key DROP COLUMN request_fingerprint, DROP COLUMN response_headers",
  );
  await source.runMigrations();
  expect(await columns("public")).toEqual(BOTH);
  await source.undoLastMigration();
  await source.undoLastMigration();
  expect(await columns("public")).toEqual([]);
  await database.service().migrate();
  expect(await columns("public")).toEqual(BOTH);
});

// What TypeORM's own table of migrations cannot lie in.
test.each(
  ["twice", 'a "quoted" schema', "a.b"].flatMap((schema) => [
    [schema, "1763769600000-add-request-fingerprint", FINGERPRINT],
    [`${schema} 2`, "1764201600000-add-response-headers", HEADERS],
  ]),
)("each step may be taken twice: %s, %s", async (schema, file, column) => {
  const [Migration] = Object.values(require(`../migrations/${file}`));
  await table(schema, false);
  const runner = (await open(schema)).createQueryRunner();
  const migration = new Migration();
  expect(migration.name).toBe(Migration.name);
  await migration.up(runner);
  await migration.up(runner);
  expect(await columns(schema)).toEqual(column);
  await migration.down(runner);
  await migration.down(runner);
  expect(await columns(schema)).toEqual([]);
  await runner.release();
});

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
  await source.undoLastMigration();
  expect(await rejection(run({ a: 1 }))).toMatchObject({ code: "42703" });
  expect(await run({ a: 1 })).toMatchObject({ replayed: false });
});
