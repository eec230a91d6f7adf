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

test("calls of one go answer what is stored", async () => {
  const given = (number) => ({
    idempotency_key: number % 2 ? `k${number}` : undefined,
    request_method: number,
    request_path: null,
    request_params: { b: [1.5], a: "\ud800".toWellFormed() },
    response_code: "200",
    recovery_point: "half-a-pair-\ud800",
    created_at: new Date("2001-02-03T04:05:06.789Z"),
  });
  const keys = await Promise.all(
    Array.from({ length: 6 }, (_, number) => service.create(given(number))),
  );
  const changed = await Promise.all(
    keys.map(({ idempotency_key }, number) => {
      return service.update(idempotency_key, {
        ...given(number),
        id: undefined,
        request_path: 7,
        response_body: {},
      });
    }),
  );
  for (const [answers, path] of [
    [keys, null],
    [changed, "7"],
  ]) {
    expect(answers.map(({ request_path }) => request_path)).toEqual(answers.map(() => path));
  }
  const stored = await Promise.all(
    keys.map(({ idempotency_key }) => service.retrieve(idempotency_key)),
  );
  expect(changed).toEqual(stored);
  expect(keys).toEqual(stored.map((key) => ({ ...key, request_path: null, response_body: null })));
});

test("callers who are answered together ask again together", async () => {
  const CALLERS = 20;
  /** The keys that were asked for in one go. */
  let together = [];
  const goes = [];
  const caller = async (_, number) => {
    for (let round = 0; round < 5; round += 1) {
      // Those who were answered together go on before a timer does; who asks again has been answered.
      if (together.length === 0 || together.some((key) => key.startsWith(`${number} `))) {
        const go = [];
        together = go;
        goes.push(go);
        setImmediate(() => {
          together = together === go ? [] : together;
        });
      }
      const key = `${number} in round ${round}`;
      together.push(key);
      await service.create({ idempotency_key: key });
    }
  };
  // A busy machine may answer all of them one by one.
  const isTried = () => goes.some((keys, index) => index > 0 && keys.length > 1);
  for (let attempt = 0; attempt < 100 && !isTried(); attempt += 1) {
    goes.length = 0;
    await database.pool.query("TRUNCATE idempotency_key");
    await Promise.all(Array.from({ length: CALLERS }, caller));
  }
  expect(isTried()).toBe(true);
  const sql =
    "SELECT count(DISTINCT xmin::text)::int AS count FROM idempotency_key WHERE idempotency_key = ANY ($1)";
  for (const keys of goes) {
    expect((await database.pool.query(sql, [keys])).rows[0].count).toBe(1);
  }
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

/** What a script that has a look at `lib/bridge/calls.js` prints as JSON. */
async function printed(script) {
  const calls = JSON.stringify(path.join(__dirname, "../lib/bridge/calls.js"));
  const source = `const { ask, askTogether } = require(${calls}); ${script}`;
  const options = { timeout: 10_000 };
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", source], options);
  return JSON.parse(stdout);
}

test.each([1, 2])("a process with %i calls that cannot begin comes to its end", async (count) => {
  const ends = await printed(`
    const begin = () => { throw new Error("not begun"); };
    const asked = [ask(begin)];
    const session = { begin };
    for (let i = 0; i < ${count}; i += 1) asked.push(askTogether(session, {}));
    Promise.allSettled(asked).then((ends) =>
      console.log(JSON.stringify(ends.map(({ reason }) => reason.message))));`);
  expect(ends).toEqual(Array(1 + count).fill("not begun"));
});

test("a call that cannot be written as text fails alone", async () => {
  const seen = await printed(`
    const begun = [];
    const session = { begin: (to, calls) => { begun.push(JSON.parse(calls).length); } };
    const refuse = () => { throw new Error("too long"); };
    const asked = [{}, { toJSON: refuse }, {}].map((call) => askTogether(session, call));
    asked[1].catch((error) => {
      console.log(JSON.stringify([begun, error.message]));
      process.exit();
    });`);
  expect(seen).toEqual([[1, 1], "too long"]);
});
