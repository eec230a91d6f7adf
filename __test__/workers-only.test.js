"use strict";

// Worker threads are the only ones that load the package, as in Vitest's thread pool. Where they run one
// after the other, no JavaScript thread of the process uses the addon any more with the end of each.

const { fork } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const { useDatabase } = require("./helpers/database");
const { eventually, sleep } = require("./helpers/flows");

const MAX_CONNECTIONS = 4;
/** How many workers are ended at random moments, one at a time and again with several at once. */
const ENDINGS = Number(process.env.WORKER_ENDINGS ?? 30);
const AT_ONCE = 4;
/** Half of them are terminated from outside. */
const HOW = ["terminate", "exit", "terminate", "throw", "terminate", "reject"];

const database = useDatabase();
let child;
let lastId = 0;

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

/** Has the process start a worker; `ended` resolves to what it has said by its end. */
function start(file, workerData) {
  lastId += 1;
  const id = lastId;
  const ended = new Promise((resolve, reject) => {
    const lost = (code, signal) => reject(new Error(`the process ended: ${code ?? signal}`));
    const hear = ({ id: whose, ...told }) => {
      if (whose === id) {
        child.off("message", hear);
        child.off("exit", lost);
        resolve(told);
      }
    };
    child.on("message", hear);
    child.on("exit", lost);
  });
  child.send({ id, file, workerData: { url: database.url, ...workerData } });
  return { ended, end: (how = "terminate") => child.send({ id, end: how }) };
}

/** Has the process start a worker, and resolves at its end to what the worker has said. */
function run(file, workerData) {
  return start(file, workerData).ended;
}

/** Has the process end a worker as soon as the engine has locked a key's row for its work. */
async function endInStage(file, key) {
  const worker = start(file, { key });
  expect(await eventually(async () => (await idleInTransaction()).length > 0)).toBe(true);
  worker.end();
  expect((await worker.ended).code).toBe(1);
  expect(await eventually(async () => (await idleInTransaction()).length === 0)).toBe(true);
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

/** Has the process end a worker at a random moment after its first stages, or those of others beside it. */
async function endAtRandom(how) {
  const worker = start("worker-stages.js");
  const before = await effects();
  await Promise.race([eventually(async () => (await effects()) > before), worker.ended]);
  await sleep(Math.random() * 20);
  worker.end(how);
  const said = ["throw", "reject"].includes(how) ? [{ error: "on purpose" }] : [];
  expect((await worker.ended).said).toEqual(said);
}

/** What workers that have ended keep from others: transactions, keys' rows, places of `maxConnections`. */
async function held({ patience = 20_000, transactions = 0 } = {}) {
  const { said } = await run("worker-places.js", { maxConnections: MAX_CONNECTIONS, patience });
  // Those of the worker that has just looked end a moment later.
  await eventually(async () => (await idleInTransaction()).length <= transactions);
  return {
    transactions: (await idleInTransaction()).length,
    rows: await lockedRows(),
    places: MAX_CONNECTIONS - said[0],
  };
}

async function lockedRows() {
  const { rows } = await database.pool.query(
    `WITH free AS (SELECT 1 FROM idempotency_key FOR UPDATE SKIP LOCKED)
     SELECT ((SELECT count(*) FROM idempotency_key) - (SELECT count(*) FROM free))::int AS locked`,
  );
  return rows[0].locked;
}

const nothing = { transactions: 0, rows: 0, places: 0 };
const PATIENCE = 30_000 + ENDINGS * 1000;

test("a stage that goes on holds a transaction, a row and a place", async () => {
  const [key] = await newKeys();
  const worker = start("worker.js", { key });
  expect(await eventually(async () => (await idleInTransaction()).length > 0)).toBe(true);
  const found = await held({ patience: 500, transactions: 1 });
  expect(found).toMatchObject({ transactions: 1, rows: 1 });
  expect(found.places).toBeGreaterThan(0);
  worker.end();
  await worker.ended;
});

test(
  "workers that end at any moment, one after the other, hold nothing",
  async () => {
    for (let round = 0; round < ENDINGS; round += 1) {
      await endAtRandom(HOW[round % HOW.length]);
      expect(await eventually(async () => (await idleInTransaction()).length === 0)).toBe(true);
    }
    expect(await held()).toEqual(nothing);
    expect(await run("worker-calls.js", { key: "afterwards" })).toEqual(settled);
  },
  PATIENCE,
);

test(
  "workers that end at any moment while others work hold nothing",
  async () => {
    let rounds = 0;
    const lane = async () => {
      while (rounds < ENDINGS) {
        rounds += 1;
        await endAtRandom(HOW[rounds % HOW.length]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    expect(await held()).toEqual(nothing);
    expect(await run("worker-calls.js", { key: "afterwards" })).toEqual(settled);
  },
  PATIENCE,
);

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
