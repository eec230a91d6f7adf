"use strict";

const { fork } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const path = require("node:path");
const { useDatabase } = require("./helpers/database");
const { eventually, sleep } = require("./helpers/flows");

const LEASE = 300;
const POINTS = ["paid", "reserved", "started"];
const FLOWS = ["runStages", "workStage"];

const database = useDatabase();
const backends = new Set();

beforeAll(() => database.pool.query("CREATE TABLE effect (key text, point text)"));

beforeEach(() => database.pool.query("TRUNCATE effect"));

afterEach(() => {
  backends.forEach((backend) => backend.kill("SIGKILL"));
  backends.clear();
});

/** Starts a backend; `answers` collects what it answers, by key. */
async function start(answers, leaseTimeout = LEASE) {
  const backend = fork(path.join(__dirname, "fixtures/checkout.js"), [database.url, leaseTimeout]);
  backends.add(backend);
  await once(backend, "message");
  backend.on("message", ({ key, response_body }) => {
    if (key) {
      answers.set(key, [...(answers.get(key) ?? []), response_body]);
    }
  });
  return backend;
}

async function kill(backend) {
  backends.delete(backend);
  backend.kill("SIGKILL");
  await once(backend, "exit");
}

/** The traces of a key's stages, each of which has to be there once. */
async function effects(key) {
  const sql = "SELECT point FROM effect WHERE key = $1 ORDER BY point";
  return (await database.pool.query(sql, [key])).rows.map(({ point }) => point);
}

/** What a key's request was answered with, by the table. */
async function stored(key) {
  const sql = "SELECT response_body AS answer FROM idempotency_key WHERE idempotency_key = $1";
  return (await database.pool.query(sql, [key])).rows[0].answer;
}

async function expectOnce(key, answers) {
  expect(await effects(key)).toEqual(POINTS);
  const order = await stored(key);
  expect(order).toEqual({ order: expect.any(String) });
  for (const answer of answers.get(key)) {
    expect(answer).toEqual(order);
  }
}

const count = (answers, key) => answers.get(key)?.length ?? 0;

/** What is sent to a process that was killed meanwhile is lost. */
const gone = () => {};

test("16 flows of one key in three processes do its work once and get one answer", async () => {
  const answers = new Map();
  const processes = await Promise.all([1, 2, 3].map(() => start(answers, 10_000)));
  for (let round = 0; round < 5; round += 1) {
    const key = randomUUID();
    for (let index = 0; index < 16; index += 1) {
      processes[index % 3].send({ key, flow: FLOWS[index % 2] });
    }
    await eventually(() => count(answers, key) === 16);
    expect(count(answers, key)).toBe(16);
    await expectOnce(key, answers);
  }
});

test("the same while processes are killed at random", async () => {
  const answers = new Map();
  const keys = Array.from({ length: 12 }, () => randomUUID());
  const started = async () => {
    const backend = await start(answers);
    keys.forEach((key, index) => {
      for (const flow of FLOWS) {
        // Not all begin at once, so that each kill hits some in the middle.
        setTimeout(() => backend.connected && backend.send({ key, flow }, gone), index * 25);
      }
    });
    return backend;
  };
  const processes = await Promise.all([1, 2, 3].map(started));
  for (let round = 0; round < 12; round += 1) {
    await sleep(50 + Math.random() * 150);
    const victim = round % 3;
    await kill(processes[victim]);
    processes[victim] = await started();
  }
  for (const key of keys) {
    await eventually(() => count(answers, key) > 0);
  }
  for (const key of keys) {
    await eventually(() => count(answers, key) >= 6);
    expect(count(answers, key)).toBeGreaterThanOrEqual(6);
    await expectOnce(key, answers);
  }
});

test.each([
  ["inside started", "runStages"],
  ["inside reserved", "workStage"],
  ["inside paid", "runStages"],
  ["before started", "workStage"],
  ["before reserved", "workStage"],
  ["before paid", "workStage"],
  ["before the answer", "runStages"],
  ["before the answer", "workStage"],
])("a process that is killed %s is gone on for (%s)", async (hang, flow) => {
  const answers = new Map();
  const [victim, other] = await Promise.all([start(answers), start(answers)]);
  const key = randomUUID();
  victim.send({ key, flow, hang });
  const [{ hanging }] = await once(victim, "message");
  expect(hanging).toBe(hang);
  await kill(victim);
  other.send({ key, flow });
  await eventually(() => count(answers, key) === 1);
  expect(count(answers, key)).toBe(1);
  await expectOnce(key, answers);
});

test.each(["before reserved", "before paid"])(
  "a process that is stopped %s gets the answer of the one that has finished meanwhile",
  async (hang) => {
    const answers = new Map();
    const [stopped, other] = await Promise.all([start(answers), start(answers)]);
    const key = randomUUID();
    await whileStopped(stopped, { key, hang }, async () => {
      other.send({ key, flow: "workStage" });
      // It takes over when the lease has run out.
      await eventually(() => count(answers, key) === 1);
      await expectOnce(key, answers);
    });
    await eventually(() => count(answers, key) === 2);
    expect(count(answers, key)).toBe(2);
    await expectOnce(key, answers);
  },
);

test("a process that is stopped is fenced off when it goes on beside the one that took over", async () => {
  const answers = new Map();
  // How long a lease holds is told by who looks at it: the other's holds as long as the test runs.
  const [stopped, other] = await Promise.all([start(answers, 60_000), start(answers)]);
  const key = randomUUID();
  await whileStopped(stopped, { key, hang: "before reserved" }, async () => {
    other.send({ key, flow: "workStage", hang: "before paid" });
    expect(await hangs(other)).toBe("before paid");
  });
  const [refusal] = await once(stopped, "message");
  expect(refusal).toEqual({ refused: key, code: "lease_lost" });
  other.send({ goOn: true });
  await eventually(() => count(answers, key) === 2);
  expect(count(answers, key)).toBe(2);
  await expectOnce(key, answers);
});

test("a process that is stopped inside a stage keeps its request, and goes on", async () => {
  const answers = new Map();
  const [stopped, other] = await Promise.all([start(answers), start(answers)]);
  const key = randomUUID();
  await whileStopped(stopped, { key, hang: "inside reserved" }, async () => {
    await sleep(2 * LEASE);
    other.send({ key, flow: "runStages" });
    // However long: the row is the stage's.
    const [refusal] = await once(other, "message");
    expect(refusal).toEqual({ refused: key, code: "idempotency_key_in_use" });
    expect(count(answers, key)).toBe(0);
  });
  await eventually(() => count(answers, key) === 2);
  expect(count(answers, key)).toBe(2);
  await expectOnce(key, answers);
});

/** Where a process hangs by now. */
async function hangs(backend) {
  for (;;) {
    const [{ hanging }] = await once(backend, "message");
    if (hanging) {
      return hanging;
    }
  }
}

/** Stops a process where its flow hangs, for the time of some work; it does not hang any more then. */
async function whileStopped(backend, { key, hang }, work) {
  backend.send({ key, flow: "workStage", hang });
  expect(await hangs(backend)).toBe(hang);
  backend.kill("SIGSTOP");
  try {
    // It waits in the pipe: a stopped process reads nothing.
    backend.send({ goOn: true });
    await work();
  } finally {
    backend.kill("SIGCONT");
  }
}
