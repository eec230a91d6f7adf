"use strict";

// Worker threads are the only ones that load the package, one after the other, as in Vitest's thread
// pool: with the end of each, no JavaScript thread of the process uses the addon any more.

const { fork } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const { useDatabase } = require("./helpers/database");
const { eventually, sleep } = require("./helpers/flows");

const MAX_CONNECTIONS = 4;

const database = useDatabase();
let child;

beforeAll(() => database.pool.query("CREATE TABLE effect (name text)"));

beforeEach(async () => {
  await database.pool.query("TRUNCATE effect; TRUNCATE idempotency_key");
  child = fork(path.join(__dirname, "fixtures/workers.js"));
});

afterEach(async () => {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
});

/** Has the process start a worker, and resolves at its end to what the worker has said. */
async function run(file, workerData) {
  const answer = once(child, "message");
  child.send({ file, workerData: { url: database.url, ...workerData } });
  return (await answer)[0];
}

/** Has the process end a worker as soon as the engine has locked a key's row for its work. */
async function endInStage(file, key) {
  const ended = run(file, { key });
  expect(await eventually(async () => (await idleInTransaction()).length > 0)).toBe(true);
  child.send({ end: true });
  expect((await ended).code).toBe(1);
  expect(await eventually(async () => (await idleInTransaction()).length === 0)).toBe(true);
}

async function finished() {
  const sql =
    "SELECT count(*)::int AS count FROM idempotency_key WHERE recovery_point = 'finished'";
  return (await database.pool.query(sql)).rows[0].count;
}

async function effects() {
  const { rows } = await database.pool.query("SELECT count(*)::int AS count FROM effect");
  return rows[0].count;
}

/** The server processes of the child's connections. */
async function connections() {
  const { rows } = await database.pool.query(
    `SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'medusa-idempotency-key'`,
  );
  return rows.map(({ pid }) => pid);
}

async function idleInTransaction() {
  const { rows } = await database.pool.query(
    `SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND state = 'idle in transaction'`,
  );
  return rows;
}

/** As many keys as leave no connection, if the stage of each keeps one. */
async function newKeys() {
  const service = database.service();
  const keys = Array.from({ length: MAX_CONNECTIONS + 2 }, () => service.create({}));
  const names = (await Promise.all(keys)).map((key) => key.idempotency_key);
  await service.close();
  return names;
}

const settled = { said: [{ first: "not_found", reasons: [] }], code: 0 };

test("every call of every worker is settled", async () => {
  for (let round = 0; round < 6; round += 1) {
    expect(await run("worker-calls.js", { key: `round-${round}` })).toEqual(settled);
  }
  expect(await effects()).toBe(6);
});

test("workers that end without close() use the same connections", async () => {
  await run("worker-calls.js", { key: "first" });
  const first = await connections();
  expect(first.length).toBeGreaterThan(0);
  for (let round = 0; round < 3; round += 1) {
    await run("worker-calls.js", { key: `round-${round}` });
  }
  const left = await connections();
  expect(left).toEqual(expect.arrayContaining(first));
  expect(left.length).toBeLessThanOrEqual(MAX_CONNECTIONS + 1);
});

test.each([
  ["is terminated inside of its callback", "worker.js"],
  ["exits before it comes to its callback", "worker-exit.js"],
])("a worker that has begun a stage and %s leaves no transaction", async (_, file) => {
  for (const key of await newKeys()) {
    await endInStage(file, key);
  }
  expect(await effects()).toBe(0);
  expect(await run("worker-calls.js", { key: "afterwards" })).toEqual(settled);
  expect(await effects()).toBe(1);
});

test("workers that are terminated at any moment leave no transaction", async () => {
  for (let round = 0; round < 20; round += 1) {
    const before = await finished();
    const ended = run("worker-stages.js");
    await eventually(async () => (await finished()) > before);
    await sleep(Math.random() * 10);
    child.send({ end: true });
    await ended;
    expect(await eventually(async () => (await idleInTransaction()).length === 0)).toBe(true);
  }
  expect(await run("worker-calls.js", { key: "afterwards" })).toEqual(settled);
});

test("a worker's password function is not asked when the worker has ended", async () => {
  const { hostname, port, pathname } = new URL(database.url);
  const dataSource = {
    host: hostname,
    port: Number(port),
    username: "postgres",
    database: pathname.slice(1),
  };
  let earlier = [];
  for (let round = 0; round < 3; round += 1) {
    const answer = await run("worker-calls.js", { key: `round-${round}`, dataSource });
    expect(answer).toEqual(settled);
    const now = await connections();
    expect(now.length).toBeGreaterThan(0);
    expect(now.filter((pid) => earlier.includes(pid))).toEqual([]);
    earlier = now;
  }
});

test("the process ends by itself", async () => {
  await run("worker-calls.js", { key: "only" });
  child.disconnect();
  const [code, signal] = await once(child, "exit");
  expect([code, signal]).toEqual([0, null]);
});
