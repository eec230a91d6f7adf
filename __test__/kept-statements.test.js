"use strict";

// A stage's statements stay prepared for the next stage on the connection; what changes meanwhile makes no stage fail.

const { useDatabase, rejection } = require("./helpers/database");

const database = useDatabase();
let service;

beforeAll(() => {
  // One stage at a time, so that the next one has the connection of the one before it.
  service = database.service({ maxConnections: 1 });
});

beforeEach(async () => {
  await database.pool.query("DROP TABLE IF EXISTS work; CREATE TABLE work (n int, name text)");
});

/** Runs a request of one stage; resolves to how often its callback was called, and its result. */
async function stage(work) {
  let calls = 0;
  const { response_body: result } = await service.runStages(
    {},
    {
      async started(manager) {
        calls += 1;
        return { response_body: (await work(manager)) ?? null };
      },
    },
  );
  return { calls, result };
}

const insert = (...values) =>
  stage((manager) => manager.query("INSERT INTO work (n, name) VALUES ($1, $2)", values));

async function stored() {
  const { rows } = await database.pool.query("SELECT * FROM work");
  return rows;
}

const PREPARED = "SELECT count(*)::int AS n FROM pg_prepared_statements WHERE statement LIKE ";

function prepared(text) {
  return stage(async (manager) => (await manager.query(`${PREPARED}'%AS ${text}%'`))[0].n);
}

test("a statement is prepared once for many stages", async () => {
  for (let n = 0; n < 5; n += 1) {
    expect((await insert(n, "a")).calls).toBe(1);
  }
  expect(await prepared("INSERT INTO work")).toMatchObject({ result: 1 });
  expect(await stored()).toHaveLength(5);
});

test("a column of another type is written as it is now", async () => {
  await insert(7, "a");
  await database.pool.query("ALTER TABLE work ALTER n TYPE text");
  // The kept statement takes a number: the stage is repeated.
  expect(await insert("x7", "b")).toMatchObject({ calls: 2 });
  expect(await insert("y7", "c")).toMatchObject({ calls: 1 });
  expect(await stored()).toEqual([
    { n: "7", name: "a" },
    { n: "x7", name: "b" },
    { n: "y7", name: "c" },
  ]);
});

test("a parameter of a type that needs another one's text is written as it is now", async () => {
  await insert(7, ["a"]);
  await database.pool.query("ALTER TABLE work ALTER name TYPE text[] USING ARRAY[name]");
  await insert(8, ["b", "c"]);
  expect((await stored())[1]).toEqual({ n: 8, name: ["b", "c"] });
});

test("rows have a column that was added", async () => {
  await insert(7, "a");
  const read = () => stage((manager) => manager.query("SELECT * FROM work WHERE n = $1", [7]));
  expect((await read()).result).toEqual([{ n: 7, name: "a" }]);
  await database.pool.query("ALTER TABLE work ADD more text DEFAULT 'm'");
  expect((await read()).result).toEqual([{ n: 7, name: "a", more: "m" }]);
});

test("a table that was made anew is found", async () => {
  await insert(7, "a");
  await database.pool.query("DROP TABLE work; CREATE TABLE work (name text, n bigint)");
  expect(await insert("9007199254740993", "b")).toMatchObject({ calls: 2 });
  expect(await stored()).toEqual([{ n: "9007199254740993", name: "b" }]);
});

test("a statement that somebody has deallocated is prepared again", async () => {
  await insert(7, "a");
  await database.pool.query(`
    CREATE OR REPLACE FUNCTION forget() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN EXECUTE (SELECT 'DEALLOCATE ' || name FROM pg_prepared_statements
      WHERE statement LIKE '%AS INSERT INTO work%'); END $$`);
  await stage((manager) => manager.query("SELECT forget()"));
  expect(await insert(8, "b")).toMatchObject({ calls: 2 });
  expect(await stored()).toHaveLength(2);
});

test("a caller's own mistake is no reason to repeat the stage", async () => {
  await insert(7, "a");
  let calls = 0;
  const failed = stage((manager) => {
    calls += 1;
    return manager.query("INSERT INTO work (n, name) VALUES ($1, $2)", ["no number", "b"]);
  });
  expect(await rejection(failed)).toMatchObject({ code: "22P02", statusCode: 400 });
  expect(calls).toBe(1);
  expect(await insert(8, "c")).toMatchObject({ calls: 1 });
});

test("names mean what the stage's own search path says", async () => {
  await database.pool.query(
    "CREATE SCHEMA IF NOT EXISTS other; DROP TABLE IF EXISTS other.work; CREATE TABLE other.work (n text, name text)",
  );
  await insert(7, "a");
  const there = await stage(async (manager) => {
    await manager.query("SET LOCAL search_path = other, public");
    await manager.query("INSERT INTO work (n, name) VALUES ($1, $2)", ["x", "b"]);
  });
  expect(there.calls).toBe(1);
  expect(await insert(8, "c")).toMatchObject({ calls: 1 });
  const { rows } = await database.pool.query("SELECT * FROM other.work");
  expect(rows).toEqual([{ n: "x", name: "b" }]);
  expect((await stored()).map(({ n }) => n)).toEqual([7, 8]);
});

test("a savepoint's work is not failed by a statement from before", async () => {
  await insert(7, "a");
  await database.pool.query("ALTER TABLE work ALTER n TYPE text");
  const outcome = await stage((manager) =>
    manager
      .transaction((inner) => inner.query("INSERT INTO work (n, name) VALUES ($1, $2)", ["x", "b"]))
      .then(
        () => "written",
        (error) => error.code,
      ),
  );
  expect(outcome).toEqual({ calls: 1, result: "written" });
});

test("so many statements are kept, and no more", async () => {
  for (let n = 0; n < 100; n += 1) {
    await stage((manager) => manager.query(`SELECT $1::int AS many_${n}`, [n]));
  }
  const { result } = await prepared("SELECT $1::int AS many_");
  expect(result).toBeGreaterThan(30);
  expect(result).toBeLessThanOrEqual(64);
});
