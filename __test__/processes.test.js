"use strict";

const { fork } = require("node:child_process");
const cluster = require("node:cluster");
const { once } = require("node:events");
const path = require("node:path");
const { text } = require("node:stream/consumers");
const { setTimeout: sleep } = require("node:timers/promises");
const { Worker } = require("node:worker_threads");
const { useDatabase } = require("./helpers/database");
const { eventually } = require("./helpers/flows");

const PROGRAM = path.join(__dirname, "fixtures/process.js");

const database = useDatabase();
const children = new Set();
let service;

beforeAll(async () => {
  service = database.service();
  await database.pool.query("CREATE TABLE effect (name text)");
});

beforeEach(() => database.pool.query("TRUNCATE effect"));

afterEach(() => {
  children.forEach((child) => child.kill("SIGKILL"));
  children.clear();
});

function start(...args) {
  return startWith({}, ...args);
}

function startWith(options, ...args) {
  const child = fork(PROGRAM, [database.url, ...args], options);
  children.add(child);
  return child;
}

async function newKey() {
  return (await service.create({})).idempotency_key;
}

async function effects() {
  const { rows } = await database.pool.query("SELECT count(*)::int AS count FROM effect");
  return rows[0].count;
}

/** Runs a stage once the server has noticed that whoever ran it is gone. */
async function workStageOnceFree(key, callback) {
  for (;;) {
    try {
      return await service.workStage(key, callback);
    } catch (error) {
      expect(error.code).toBe("idempotency_key_in_use");
      await sleep(5);
    }
  }
}

test("of many callers in several processes one gets the lock", async () => {
  const processes = [0, 1, 2, 3].map(() => start("lock"));
  await Promise.all(processes.map((child) => once(child, "message")));
  for (let round = 0; round < 50; round += 1) {
    const key = await newKey();
    const answers = processes.map(async (child) => {
      const answer = once(child, "message");
      child.send({ key, callers: 8 });
      return (await answer)[0];
    });
    const results = await Promise.all(answers);
    expect(results.reduce((sum, { won }) => sum + won, 0)).toBe(1);
    expect(new Set(results.flatMap(({ reasons }) => reasons))).toEqual(new Set(["conflict"]));
  }
});

test("a process that is killed leaves nothing half-written and its key free", async () => {
  const key = await newKey();
  const child = start("hang", key);
  await once(child, "message");
  child.kill("SIGKILL");
  await once(child, "exit");
  const finished = await workStageOnceFree(key, () => ({ response_code: 200 }));
  expect(finished.recovery_point).toBe("finished");
  expect(await effects()).toBe(0);
});

test("a process that ends inside of a callback leaves nothing half-written", async () => {
  const key = await newKey();
  const [code] = await once(start("leave", key), "exit");
  expect(code).toBe(0);
  expect((await workStageOnceFree(key, () => ({}))).recovery_point).toBe("finished");
  expect(await effects()).toBe(0);
});

test("a process can end in the middle of very many calls", async () => {
  for (let round = 0; round < 5; round += 1) {
    const child = startWith({ silent: true }, "leaveBusy");
    const [errors, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);
    expect({ code, errors }).toEqual({ code: 0, errors: "" });
  }
});

/** Starts a process as one of a cluster. */
function startInCluster(...args) {
  cluster.setupPrimary({ exec: PROGRAM, args: [database.url, ...args], silent: true });
  const { process: child } = cluster.fork();
  children.add(child);
  return child;
}

/** Whether no transaction is open that somebody has left, and no key's row is locked. */
async function isNothingHeld() {
  const { rows } = await database.pool.query(
    `WITH free AS (SELECT 1 FROM idempotency_key FOR UPDATE SKIP LOCKED)
     SELECT (SELECT count(*) FROM free) = (SELECT count(*) FROM idempotency_key) AND NOT EXISTS
       (SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND state LIKE 'idle in transaction%') AS nothing`,
  );
  return rows[0].nothing;
}

describe.each([
  ["a process", (...args) => startWith({ silent: true }, ...args)],
  ["a process of a cluster", startInCluster],
])("%s that ends while stages are under way holds nothing", (_, begin) => {
  test.each([
    ["process.exit()", "exit", [1, null], ""],
    ["an uncaught error", "throw", [1, null], "on purpose"],
    ["a rejection that nobody handles", "reject", [1, null], "on purpose"],
    ["SIGTERM", "SIGTERM", [null, "SIGTERM"], ""],
    ["SIGKILL", "SIGKILL", [null, "SIGKILL"], ""],
  ])("by %s", async (__, ending, expected, printed) => {
    for (let round = 0; round < 3; round += 1) {
      const before = await effects();
      const child = begin("busy");
      const unexpected = [];
      child.on("message", (message) => message.unexpected && unexpected.push(message));
      const ended = Promise.all([text(child.stderr), once(child, "exit")]);
      expect(await eventually(async () => (await effects()) > before)).toBe(true);
      await sleep(Math.random() * 20);
      if (ending.startsWith("SIG")) {
        child.kill(ending);
      } else {
        child.send(ending);
      }
      const [errors, how] = await ended;
      expect({ how, unexpected }).toEqual({ how: expected, unexpected: [] });
      expect(errors).toContain(printed);
      expect(errors).not.toMatch(/panicked|FATAL|assert/i);
      expect(await eventually(isNothingHeld)).toBe(true);
    }
  });
});

test("a stage that goes on is seen to hold its key", async () => {
  const child = start("hang", await newKey());
  await once(child, "message");
  expect(await isNothingHeld()).toBe(false);
  child.kill("SIGKILL");
  expect(await eventually(isNothingHeld)).toBe(true);
});

test("a process whose last service is closed while stages are under way ends by itself", async () => {
  const child = start("close");
  const [outcomes] = await once(child, "message");
  const [code, signal] = await once(child, "exit");
  expect([code, signal]).toEqual([0, null]);
  const fulfilled = outcomes.filter((outcome) => outcome === "fulfilled");
  expect(fulfilled.length).toBeGreaterThan(0);
  expect(new Set(outcomes)).toEqual(new Set(["fulfilled", "service_closed"]));
  expect(await effects()).toBe(fulfilled.length);
  expect(await isNothingHeld()).toBe(true);
});

test("a process that has nothing more to do ends by itself", async () => {
  const key = await newKey();
  const [code, signal] = await once(start("idle", key), "exit");
  expect([code, signal]).toEqual([0, null]);
  expect((await service.retrieve(key)).recovery_point).toBe("finished");
});

test("a worker thread that is terminated inside of a callback leaves nothing half-written", async () => {
  for (let round = 0; round < 5; round += 1) {
    const key = await newKey();
    const worker = new Worker(path.join(__dirname, "fixtures/worker.js"), {
      workerData: { url: database.url, key },
    });
    await once(worker, "message");
    await worker.terminate();
    const finished = await workStageOnceFree(key, () => ({ response_code: 200 }));
    expect(finished.recovery_point).toBe("finished");
    expect(await effects()).toBe(0);
  }
  // Worker threads have connections of their own, which the last to close its service closes.
  const last = new Worker(path.join(__dirname, "fixtures/worker.js"), {
    workerData: { url: database.url },
  });
  await once(last, "exit");
});

test("of many processes that begin one request at once, one runs it and all get its answer", async () => {
  const processes = [0, 1, 2, 3].map(() => start("request"));
  await Promise.all(processes.map((child) => once(child, "message")));
  for (let round = 0; round < 10; round += 1) {
    const key = `request-${round}`;
    const answers = processes.map(async (child) => {
      const answer = once(child, "message");
      child.send({ key, callers: 4 });
      return (await answer)[0];
    });
    const results = (await Promise.all(answers)).flat();
    expect(results.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(new Set(results.map(({ response_body }) => response_body.order))).toHaveProperty(
      "size",
      1,
    );
  }
  expect(await effects()).toBe(20);
});

test("as many stages as connections, each with a call of its own inside, all finish", async () => {
  const maxConnections = 4;
  const small = database.service({ maxConnections });
  const keys = await Promise.all(Array.from({ length: maxConnections }, newKey));
  let started = 0;
  let allStarted;
  const all = new Promise((resolve) => (allStarted = resolve));
  const stages = keys.map((key) =>
    small.workStage(key, async () => {
      started += 1;
      if (started === maxConnections) {
        allStarted();
      }
      await all;
      await small.create({});
      return { response_code: 200 };
    }),
  );
  expect((await Promise.all(stages)).map((key) => key.response_code)).toEqual([200, 200, 200, 200]);
});

test("hundreds of stages and calls at once all finish", async () => {
  const small = database.service({ maxConnections: 2 });
  const keys = await Promise.all(Array.from({ length: 200 }, newKey));
  const stages = keys.map((key) =>
    small.workStage(key, async (manager) => {
      await manager.query("INSERT INTO effect VALUES ('one')");
      await small.create({});
      return {};
    }),
  );
  await Promise.all(stages);
  expect(await effects()).toBe(200);
});
