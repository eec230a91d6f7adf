"use strict";

const { randomUUID } = require("node:crypto");
const { rejection, useDatabase } = require("./helpers/database");

const database = useDatabase();

const COLUMNS = `
  SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns
  WHERE table_name = 'idempotency_key' AND table_schema = $1 ORDER BY ordinal_position`;
const INDEXES = `
  SELECT indexname FROM pg_indexes
  WHERE tablename = 'idempotency_key' AND schemaname = $1 ORDER BY indexname`;

async function rows(sql, schema) {
  return (await database.pool.query(sql, [schema])).rows;
}

test("creates the table of Medusa's migrations, and the columns for fingerprints and headers", async () => {
  await database.service({ schema: "fresh" }).migrate();
  const column = (column_name, data_type, is_nullable, column_default) => ({
    column_name,
    data_type,
    is_nullable,
    column_default,
  });
  expect(await rows(COLUMNS, "fresh")).toEqual([
    column("id", "character varying", "NO", null),
    column("idempotency_key", "character varying", "NO", null),
    column("created_at", "timestamp with time zone", "NO", "now()"),
    column("locked_at", "timestamp with time zone", "YES", null),
    column("request_method", "character varying", "YES", null),
    column("request_params", "jsonb", "YES", null),
    column("request_path", "character varying", "YES", null),
    column("response_code", "integer", "YES", null),
    column("response_body", "jsonb", "YES", null),
    column("recovery_point", "character varying", "NO", "'started'::character varying"),
    column("request_fingerprint", "character varying", "YES", null),
    column("response_headers", "jsonb", "YES", null),
  ]);
});

test("adds no more than those columns when Medusa has migrated already", async () => {
  await database.pool.query(`
    CREATE SCHEMA medusa;
    CREATE TABLE medusa.idempotency_key (
      id character varying NOT NULL, idempotency_key character varying NOT NULL,
      created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
      locked_at TIMESTAMP WITH TIME ZONE, request_method character varying, request_params jsonb,
      request_path character varying, response_code integer, response_body jsonb,
      recovery_point character varying NOT NULL DEFAULT 'started',
      CONSTRAINT "PK_213f125e14469be304f9ff1d452" PRIMARY KEY (id));
    CREATE UNIQUE INDEX "IDX_a421bf4588d0004a9b0c0fe84f" ON medusa.idempotency_key (idempotency_key)`);
  const before = await rows(INDEXES, "medusa");
  const columns = await rows(COLUMNS, "medusa");
  const service = database.service({ schema: "medusa" });
  await service.migrate();
  expect(await rows(INDEXES, "medusa")).toEqual(before);
  expect(await rows(COLUMNS, "medusa")).toEqual([
    ...columns,
    expect.objectContaining({ column_name: "request_fingerprint", is_nullable: "YES" }),
    expect.objectContaining({ column_name: "response_headers", is_nullable: "YES" }),
  ]);
  const key = await service.create({ idempotency_key: "k" });
  expect(await rejection(service.create({ idempotency_key: "k" }))).toMatchObject({
    code: "23505",
    constraint: "IDX_a421bf4588d0004a9b0c0fe84f",
    schema: "medusa",
  });
  expect(await service.retrieve("k")).toEqual(key);
});

test("adds the unique index where it is missing", async () => {
  await database.service({ schema: "bare" }).migrate();
  await database.pool.query("DROP INDEX bare.idempotency_key_idempotency_key_idx");
  await database.service({ schema: "bare" }).migrate();
  expect(await rows(INDEXES, "bare")).toContainEqual({
    indexname: "idempotency_key_idempotency_key_idx",
  });
});

describe("by a role that may not create anything", () => {
  let poor;

  beforeAll(async () => {
    poor = `poor_${randomUUID().replaceAll("-", "")}`;
    await database.pool.query(`CREATE ROLE ${poor} LOGIN PASSWORD 'poor'`);
  });

  afterAll(async () => {
    await database.pool.query(`DROP OWNED BY ${poor}; DROP ROLE ${poor}`);
  });

  async function serviceOfPoor(schema) {
    await database.pool.query(`
      GRANT USAGE ON SCHEMA ${schema} TO ${poor};
      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ${poor}`);
    const url = new URL(database.url);
    Object.assign(url, { username: poor, password: "poor" });
    return (options) => database.service({ databaseUrl: url.href, ...options });
  }

  test("does nothing to a complete table, however it is found", async () => {
    await database.service({ schema: "complete" }).migrate();
    const service = (await serviceOfPoor("complete"))({ schema: "complete" });
    await service.migrate();
    expect((await service.create({ idempotency_key: "k" })).idempotency_key).toBe("k");
    const onSearchPath = (await serviceOfPoor("public"))();
    await database.service().migrate();
    await onSearchPath.migrate();
  });

  test.each([
    ["column", "ALTER TABLE incomplete.idempotency_key DROP request_fingerprint", /must be owner/],
    [
      "other column",
      "ALTER TABLE incomplete.idempotency_key DROP response_headers",
      /must be owner/,
    ],
    ["index", "DROP INDEX incomplete.idempotency_key_idempotency_key_idx", /must be owner/],
    ["table", "DROP TABLE incomplete.idempotency_key", /permission denied for schema/],
  ])("fails as the server says where the %s is missing", async (_, drop, message) => {
    await database.service({ schema: "incomplete" }).migrate();
    const service = (await serviceOfPoor("incomplete"))({ schema: "incomplete" });
    await database.pool.query(drop);
    expect(await rejection(service.migrate())).toMatchObject({
      code: "42501",
      message: expect.stringMatching(message),
    });
  });
});

test("may be called by many at once", async () => {
  const services = Array.from({ length: 8 }, (_, index) =>
    database.service({ schema: "contended", maxConnections: index + 1 }),
  );
  await Promise.all(services.map((service) => service.migrate()));
  expect(await rows(INDEXES, "contended")).toHaveLength(2);
});

test("says what the table's absence means to a service that has not migrated", async () => {
  const service = database.service({ schema: "absent" });
  expect(await rejection(service.create({}))).toMatchObject({
    code: "42P01",
    message: expect.stringContaining("absent.idempotency_key"),
    hint: expect.stringContaining("migrate()"),
  });
});
