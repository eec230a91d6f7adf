"use strict";

// The statements of stages in a caller's transaction, which are kept prepared on its connection.

const { DataSource, EventSubscriber } = require("typeorm");
const { IdempotencyKeyService } = require("..");
const { rejection, useDatabase } = require("./helpers/database");

const database = useDatabase();
const PREPARED = "SELECT statement FROM pg_prepared_statements WHERE name LIKE 'idempotency_key_%'";

let dataSource;
let service;

/** On one connection, so that each transaction finds what the one before it has left. */
async function connect(options) {
  const settings = { type: "postgres", url: database.url, extra: { max: 1 }, ...options };
  const source = await new DataSource(settings).initialize();
  database.closed({ close: () => source.destroy() });
  dataSource = source;
  service = database.closed(new IdempotencyKeyService({ manager: source.manager }, {}));
}

beforeEach(() => connect());

async function stage(key) {
  const paid = () => ({ recovery_point: "paid" });
  return dataSource.transaction((manager) => service.withTransaction(manager).workStage(key, paid));
}

async function newKey() {
  return (await service.create({})).idempotency_key;
}

async function prepared() {
  return (await dataSource.query(PREPARED)).map(({ statement }) => statement);
}

test("stages have the server parse their statements once", async () => {
  for (let count = 0; count < 3; count += 1) {
    expect(await stage(await newKey())).toMatchObject({ recovery_point: "paid" });
  }
  expect((await prepared()).map((sql) => sql.split(" ")[0]).sort()).toEqual(["SELECT", "UPDATE"]);
});

test("statements that may be new each time are not kept", async () => {
  await dataSource.transaction(async (manager) => {
    const bound = service.withTransaction(manager);
    const { idempotency_key } = await bound.create({});
    await bound.update(idempotency_key, { recovery_point: "paid" });
    await bound.retrieve({ idempotency_key });
  });
  expect(await prepared()).toEqual([]);
});

describe("where somebody sees the statements", () => {
  const seen = [];
  const see = (...statements) => seen.push(...statements);
  const ignored = ["log", "logSchemaBuild", "logMigration", "logQueryError", "logQuerySlow"];
  const logger = Object.fromEntries(ignored.map((method) => [method, () => {}]));

  class Subscriber {
    beforeQuery({ query }) {
      see(query);
    }
  }

  EventSubscriber()(Subscriber);

  beforeEach(() => seen.splice(0));

  test.each([
    ["a logger of the project's", { logger: { ...logger, logQuery: see } }],
    [
      "a logger of slow queries",
      {
        logger: { ...logger, logQuery() {}, logQuerySlow: (_time, sql) => see(sql) },
        maxQueryExecutionTime: -1,
      },
    ],
    ["a subscriber", { subscribers: [Subscriber] }],
  ])("%s gets text, and none are kept", async (_, options) => {
    await connect(options);
    await stage(await newKey());
    const statements = seen.filter((sql) => String(sql).includes("idempotency_key"));
    expect(statements.length).toBeGreaterThanOrEqual(2);
    expect(statements.map((sql) => typeof sql)).toEqual(statements.map(() => "string"));
    expect(await prepared()).toEqual([]);
  });
});

test.each(["advanced-console", "simple-console", "debug"])(
  "TypeORM's logger %s takes them",
  async (logger) => {
    for (const method of ["log", "info"]) {
      jest.spyOn(console, method).mockImplementation(() => {});
    }
    try {
      await connect({ logging: true, logger });
      expect(await stage(await newKey())).toMatchObject({ recovery_point: "paid" });
    } finally {
      jest.restoreAllMocks();
    }
  },
);

test("an error tells its statement as text", async () => {
  const key = await newKey();
  await database.pool.query("ALTER TABLE idempotency_key RENAME recovery_point TO renamed");
  const error = await rejection(stage(key));
  await database.pool.query("ALTER TABLE idempotency_key RENAME renamed TO recovery_point");
  expect(error).toMatchObject({ code: "42703", query: expect.stringMatching(/^SELECT/) });
});

test("a statement whose table has changed is kept", async () => {
  await stage(await newKey());
  await database.pool.query("ALTER TABLE idempotency_key ALTER response_code TYPE bigint");
  expect(await stage(await newKey())).toMatchObject({ recovery_point: "paid" });
});

test("after a statement that a pooler has taken away none are kept", async () => {
  await stage(await newKey());
  await dataSource.query("DEALLOCATE ALL");
  expect(await rejection(stage(await newKey()))).toMatchObject({ code: "26000" });
  for (let count = 0; count < 2; count += 1) {
    expect(await stage(await newKey())).toMatchObject({ recovery_point: "paid" });
  }
});
