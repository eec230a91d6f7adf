"use strict";

// Behind a real PgBouncer, in each of its modes and with the settings of those who run poolers for others.

const { execFile } = require("node:child_process");
const path = require("node:path");
const { promisify } = require("node:util");
const { useDatabase, rejection } = require("./helpers/database");
const { findPgBouncer, startPgBouncer } = require("./helpers/pgbouncer");
const { whyNoPooler } = require("../bench/pooler");

const PROGRAM = path.join(__dirname, "fixtures/mixed-calls.js");
/** How many calls two processes make together; `POOLER_CALLS` says another number. */
const CALLS = Number(process.env.POOLER_CALLS ?? 1_000);

const database = useDatabase();
const services = [];
const poolers = [];

const describeWithPooler = findPgBouncer() ? describe : describe.skip;
if (!findPgBouncer()) {
  console.warn(
    "PgBouncer is not installed, so the tests of poolers are skipped: apt-get install pgbouncer",
  );
}

beforeAll(() => database.pool.query("CREATE TABLE effect (name text UNIQUE)"));

afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.close()));
  await Promise.all(poolers.splice(0).map((pooler) => pooler.stop()));
});

async function serviceBehind(settings, options) {
  const service = database.service({ databaseUrl: await pooler(settings), ...options });
  services.push(service);
  return service;
}

async function pooler(settings) {
  const started = await startPgBouncer(database.url, { default_pool_size: 8, ...settings });
  poolers.push(started);
  return started.url;
}

async function mixedCalls(url, marker) {
  const args = [PROGRAM, url, marker, String(CALLS / 2)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 2 ** 24 });
  return JSON.parse(stdout);
}

const IGNORED = "extra_float_digits,options";

describeWithPooler("two processes", () => {
  test.each([
    ["PgBouncer's own settings", {}, ""],
    ["a pooler that ignores what it does not know", { ignore_startup_parameters: IGNORED }, ""],
    ["a URL that says so", {}, "?pgbouncer=true"],
    ["few connections to the server", { default_pool_size: 2 }, ""],
    ["session mode", { pool_mode: "session", default_pool_size: 40 }, ""],
    [
      "session mode without start-up options",
      { pool_mode: "session", default_pool_size: 40, ignore_startup_parameters: IGNORED },
      "",
    ],
  ])(
    "get their own answers behind %s",
    async (name, settings, parameters) => {
      const url = (await pooler(settings)) + parameters;
      const marker = name.replaceAll(/\W+/g, "-");
      const results = await Promise.all([
        mixedCalls(url, `1-${marker}`),
        mixedCalls(url, `2-${marker}`),
      ]);
      for (const { calls, first } of results) {
        expect({ calls, first }).toEqual({ calls: CALLS / 2, first: [] });
      }
      const worked = [4, 5, 6].map((index) => Math.floor((CALLS / 2 - index) / 7) + 1);
      const { rows } = await database.pool.query(
        "SELECT count(*)::int AS count FROM effect WHERE name LIKE '_-' || $1 || '-%'",
        [marker],
      );
      expect(rows[0].count).toBe(2 * worked.reduce((sum, count) => sum + count));
    },
    600_000,
  );
});

describeWithPooler("one process", () => {
  test("is told that a pooler in statement mode is none", async () => {
    const service = await serviceBehind({ pool_mode: "statement" });
    expect(await rejection(service.create({}))).toMatchObject({
      code: "08P01",
      statusCode: 503,
      message: expect.stringContaining("statement mode"),
    });
  });

  test("waits for a lock no longer than without a pooler", async () => {
    const service = await serviceBehind({ ignore_startup_parameters: IGNORED });
    const { lock_timeout } = await service.atomicPhase_(async (manager) => {
      const [row] = await manager.query("SELECT current_setting('lock_timeout') AS lock_timeout");
      return row;
    });
    expect(lock_timeout).toBe("10s");
  });

  test("is not taken for lost while its pooler is full", async () => {
    const service = await serviceBehind({ default_pool_size: 1 }, { connectTimeout: 500 });
    const { idempotency_key } = await service.create({});
    // Whoever asks the server whether it works on this waits for its end.
    const key = await service.workStage(idempotency_key, async (manager) => {
      await manager.query("SELECT pg_sleep(4)");
      return { recovery_point: "paid" };
    });
    expect(key).toMatchObject({ recovery_point: "paid" });
  });

  test("is not taken for lost while the server works on several stages, each in any of its sessions", async () => {
    const service = await serviceBehind({ default_pool_size: 6 }, { connectTimeout: 1500 });
    const slow = async (manager) => {
      await manager.query("SELECT pg_sleep(4)");
      return { recovery_point: "paid" };
    };
    const keys = await Promise.all([1, 2, 3].map(() => service.create({})));
    const stages = keys.map(({ idempotency_key }) => service.workStage(idempotency_key, slow));
    for (const key of await Promise.all(stages)) {
      expect(key).toMatchObject({ recovery_point: "paid" });
    }
  });

  test("leaves nothing in the pooler's sessions", async () => {
    const service = await serviceBehind({ default_pool_size: 1 });
    const { idempotency_key } = await service.create({});
    await service.workStage(idempotency_key, async (manager) => {
      await manager.query("SELECT $1::text", ["x"]);
      return { recovery_point: "paid" };
    });
    await service.atomicPhase_(async (manager) => {
      const [row] = await manager.query(
        "SELECT current_setting('lock_timeout') AS lock_timeout, count(*)::int AS prepared FROM pg_prepared_statements",
      );
      expect(row).toEqual({ lock_timeout: "10s", prepared: 0 });
    });
  });
});

test.each([
  ["a server that is given", { isGiven: true }, /DATABASE_URL/],
  ["a machine without PgBouncer", { program: null }, /not installed/],
])("the benchmark says why it leaves the pooler out: %s", (_, machine, sentence) => {
  expect(whyNoPooler(machine)).toMatch(sentence);
});
