"use strict";

// How calls that are made in one go begin and end.

const { execFile } = require("node:child_process");
const path = require("node:path");
const { promisify } = require("node:util");
const { useDatabase } = require("./helpers/database");

const database = useDatabase();
let service;

beforeAll(() => {
  service = database.service();
});

beforeEach(() => database.pool.query("TRUNCATE idempotency_key"));

/** How many transactions have written the keys that there are. */
async function transactions() {
  const sql = "SELECT count(DISTINCT xmin::text)::int AS count FROM idempotency_key";
  return (await database.pool.query(sql)).rows[0].count;
}

const createMany = (count) => Promise.all(Array.from({ length: count }, () => service.create({})));

test("calls of one go share a commit", async () => {
  await createMany(100);
  expect(await transactions()).toBe(1);
});

test("callers who are answered together ask again together", async () => {
  const caller = async () => {
    for (let round = 0; round < 5; round += 1) {
      await service.create({});
    }
  };
  const seen = [];
  for (let attempt = 0; attempt < 5; attempt += 1) {
    await database.pool.query("TRUNCATE idempotency_key");
    await Promise.all(Array.from({ length: 20 }, caller));
    seen.push(await transactions());
  }
  // In some attempts a busy machine may answer them in parts.
  expect(seen).toContain(5);
});

test("calls of one go about one key keep their order", async () => {
  const [, , paid, , finished] = await Promise.all([
    service.create({ idempotency_key: "k" }),
    service.update("k", { recovery_point: "paid" }),
    service.retrieve("k"),
    service.update("k", { recovery_point: "finished" }),
    service.retrieve("k"),
  ]);
  expect([paid.recovery_point, finished.recovery_point]).toEqual(["paid", "finished"]);
});

test.each([1, 2])("%i calls right before close() are made", async (count) => {
  const own = database.service();
  const calls = Array.from({ length: count }, () => own.create({}));
  await own.close();
  expect(await Promise.all(calls)).toHaveLength(count);
});

test.each([1, 2])("a process with %i calls that cannot begin comes to its end", async (count) => {
  const calls = path.join(__dirname, "../lib/calls.js");
  const script = `
    const { ask, askTogether } = require(${JSON.stringify(calls)});
    const begin = () => { throw new Error("not begun"); };
    const session = { begin };
    const asked = [ask(begin)];
    for (let i = 0; i < ${count}; i += 1) asked.push(askTogether(session, {}));
    Promise.allSettled(asked).then((ends) => console.log(ends.map(({ reason }) => reason.message)));`;
  const options = { timeout: 10_000 };
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", script], options);
  expect(stdout.match(/not begun/g)).toHaveLength(1 + count);
});
