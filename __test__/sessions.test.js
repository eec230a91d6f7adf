"use strict";

// What a stage does to its session does not reach the next user of the connection.

const { useDatabase, rejection } = require("./helpers/database");

const database = useDatabase();
let service;

beforeAll(async () => {
  await database.pool.query("CREATE TABLE effect (id serial, name text)");
  // One stage at a time, so that the next one has the connection of the one before it.
  service = database.service({ maxConnections: 1 });
});

async function stage(work) {
  const { idempotency_key } = await service.create({});
  return service.workStage(idempotency_key, async (manager) => {
    await work(manager);
    return { recovery_point: "paid" };
  });
}

function asked(sql) {
  return service.atomicPhase_(async (manager) => (await manager.query(sql))[0]);
}

/** The process of the server that serves the stages. */
const BACKEND = "SELECT pg_backend_pid() AS pid";

async function backend() {
  return (await asked(BACKEND)).pid;
}

test.each([
  [
    "a setting",
    "SET statement_timeout = '1s'",
    "SELECT current_setting('statement_timeout') AS it",
    "0",
  ],
  [
    "a setting by a function",
    "SELECT set_config('work_mem', '1MB', false)",
    "SELECT current_setting('work_mem') AS it",
    "4MB",
  ],
  [
    "the search path",
    "SET search_path = pg_catalog",
    "SELECT current_setting('search_path') AS it",
    undefined,
  ],
  ["a role", "SET ROLE pg_monitor", "SELECT current_user = session_user AS it", true],
  [
    "a session's user",
    "SET SESSION AUTHORIZATION pg_monitor",
    "SELECT session_user <> 'pg_monitor' AS it",
    true,
  ],
  [
    "a temporary table",
    "CREATE TEMPORARY TABLE idempotency_key (id text)",
    "SELECT to_regclass('pg_temp.idempotency_key') AS it",
    null,
  ],
  [
    "an advisory lock",
    "SELECT pg_advisory_lock(1)",
    "SELECT count(*)::int AS it FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    0,
  ],
  ["a channel", "LISTEN news", "SELECT count(*)::int AS it FROM pg_listening_channels()", 0],
  [
    "a cursor",
    "DECLARE kept CURSOR WITH HOLD FOR SELECT 1",
    "SELECT count(*)::int AS it FROM pg_cursors WHERE name = 'kept'",
    0,
  ],
  [
    "a prepared statement",
    "PREPARE kept AS SELECT 1",
    "SELECT count(*)::int AS it FROM pg_prepared_statements WHERE name = 'kept'",
    0,
  ],
])("%s", async (_, change, sql, expected) => {
  const before = (await asked(sql)).it;
  // Not a stage: the engine would write the key with the changed session.
  await asked(change);
  const { it } = await asked(sql);
  expect(it).toEqual(before);
  if (expected !== undefined) {
    expect(it).toEqual(expected);
  }
  // Single calls use the same connections.
  expect(await service.create({})).toMatchObject({ recovery_point: "started" });
});

test("read-only transactions by default", async () => {
  await stage((manager) => manager.query("SET default_transaction_read_only = on"));
  await stage((manager) => manager.query("INSERT INTO effect (name) VALUES ('x')"));
  await Promise.all(Array.from({ length: 8 }, () => service.create({})));
});

test("also after a stage that fails", async () => {
  const failed = stage(async (manager) => {
    await manager.query("SELECT pg_advisory_lock(2), set_config('work_mem', '1MB', false)");
    throw new Error("declined");
  });
  expect(await rejection(failed)).toMatchObject({ message: "declined" });
  expect(await asked("SELECT current_setting('work_mem') AS work_mem")).toEqual({
    work_mem: "4MB",
  });
  await database.until("NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')");
});

test("the connection, and what the engine has prepared, stay", async () => {
  const kept =
    "SELECT count(*)::int AS kept FROM pg_prepared_statements WHERE statement LIKE '%FOR UPDATE%'";
  await stage(() => {});
  const first = await backend();
  const before = await asked(kept);
  expect(before.kept).toBeGreaterThan(0);
  await stage((manager) => manager.query("SET work_mem = '1MB'"));
  expect(await backend()).toBe(first);
  expect(await asked(kept)).toEqual(before);
});
