"use strict";

// What a stage's callback may return, and which columns may be given: what was meant as something else is
// refused, as it would finish a request for good or be ignored.

const { randomUUID } = require("node:crypto");
const vm = require("node:vm");
const { rejection, useDatabase } = require("./helpers/database");
const { openTypeOrm } = require("./helpers/flows");

class Answer {
  response_code = 200;
}

const database = useDatabase();
let places;

beforeAll(async () => {
  await database.pool.query("CREATE TABLE work (name text)");
  const typeOrm = await openTypeOrm(database);
  const inTransaction = (key, callback) =>
    typeOrm.dataSource.transaction((manager) =>
      typeOrm.service().withTransaction(manager).workStage(key, callback),
    );
  const pool = database.service();
  const own = typeOrm.service();
  places = {
    "on the pool": (key, callback) => pool.workStage(key, callback),
    "through TypeORM": (key, callback) => own.workStage(key, callback),
    "in a transaction of TypeORM's": inTransaction,
  };
});

async function newKey(service = database.service()) {
  return (await service.create({ request_path: "/results" })).idempotency_key;
}

async function stored(key) {
  const sql = "SELECT * FROM idempotency_key WHERE idempotency_key = $1";
  return (await database.pool.query(sql, [key])).rows[0];
}

const REFUSED = [
  [{ recoveryPoint: "paid" }, "recoveryPoint: did you mean recovery_point?"],
  [{ recovery_pont: "paid" }, "recovery_pont: did you mean recovery_point?"],
  [{ responseCode: 200 }, "responseCode: did you mean response_code?"],
  [{ response_code: 200, responseBody: {} }, "responseBody: did you mean response_body?"],
  [{ status: 200, body: {} }, "status: did you mean response_code?"],
  [{ response_code: 200, body: {} }, "body: did you mean response_body?"],
  [{ statusCode: 200 }, "statusCode: did you mean response_code?"],
  [{ response_code: 200, headers: {} }, '"headers" is none of them'],
  [{ constructor: 1 }, '"constructor" is none of them'],
  [[], "not an array"],
  [[{ response_code: 200 }], "not an array"],
  [new Date(), "not an instance of Date"],
  [new Map(), "not an instance of Map"],
  [new Answer(), "not an instance of Answer"],
  [undefined, "an object: { recovery_point }"],
  ["paid", "an object: { recovery_point }"],
  [() => {}, "an object: { recovery_point }"],
  [{ recovery_point: 7 }, "recovery_point has to be a string, not number"],
  [{ response_code: 99_999 }, "from 100 to 599, not 99999"],
  [{ response_code: 99 }, "from 100 to 599, not 99"],
  [{ response_code: 600 }, "from 100 to 599, not 600"],
  [{ response_code: 200.5 }, "a whole number from 100 to 599, not 200.5"],
  [{ response_code: "abc" }, "from 100 to 599, not a value of type string"],
  [{ response_code: "200" }, "from 100 to 599, not a value of type string"],
  [{ response_code: NaN }, "from 100 to 599, not NaN"],
  [{ response_code: {} }, "from 100 to 599, not a value of type object"],
];

describe.each(["on the pool", "through TypeORM", "in a transaction of TypeORM's"])(
  "%s",
  (place) => {
    test.each(REFUSED)("%p is refused, and the stage undone", async (result, message) => {
      const key = await newKey();
      const error = await rejection(
        places[place](key, async (manager) => {
          await manager.query("INSERT INTO work VALUES ($1)", [key]);
          return result;
        }),
      );
      expect(error).toMatchObject({ type: "invalid_data", status: 400 });
      expect(error.message).toContain(message);
      const { rows } = await database.pool.query("SELECT FROM work WHERE name = $1", [key]);
      expect(rows).toEqual([]);
      expect(await stored(key)).toMatchObject({ recovery_point: "started", response_code: null });
      // It goes on at once.
      await places[place](key, () => ({ response_code: 204 }));
      expect(await stored(key)).toMatchObject({ recovery_point: "finished", response_code: 204 });
    });

    test.each([
      [{}, null, null],
      [{ response_code: 100 }, 100, null],
      [{ response_code: 599, response_body: null }, 599, null],
      [{ response_body: { id: 1 } }, 200, { id: 1 }],
      [{ response_body: 0 }, 200, 0],
      [{ response_code: undefined, response_body: "done" }, 200, "done"],
      [{ response_code: null, response_body: false }, 200, false],
      [{ recovery_point: "", response_code: 201 }, 201, null],
      [{ recovery_point: null, response_body: [1] }, 200, [1]],
      [Object.assign(Object.create(null), { response_code: 202 }), 202, null],
      [vm.runInNewContext("({ response_code: 203 })"), 203, null],
    ])("%p finishes", async (result, response_code, response_body) => {
      const key = await newKey();
      const finished = await places[place](key, () => result);
      expect(finished).toMatchObject({ recovery_point: "finished", response_code });
      expect(await stored(key)).toMatchObject({
        recovery_point: "finished",
        response_code,
        response_body,
      });
    });
  },
);

test("a message never repeats what a text says: it may be a request's content", async () => {
  const secret = "4111 1111 1111 1111";
  const error = await rejection(
    places["on the pool"](await newKey(), () => ({ response_code: secret })),
  );
  expect(error.message).not.toContain(secret);
});

test("in mode medusa all is as Medusa's", async () => {
  const service = database.service({ mode: "medusa" });
  const finished = await service.workStage(await newKey(service), () => ({
    recoveryPoint: "paid",
  }));
  expect(finished).toMatchObject({ recovery_point: "finished", response_code: null });
  const bare = await service.workStage(await newKey(service), () => ({ response_body: { a: 1 } }));
  expect(bare).toMatchObject({ response_code: null, response_body: { a: 1 } });
  const key = await service.create({ requestPath: "/a" });
  expect(key.request_path).toBeNull();
  expect(await service.update(key, { recoveryPoint: "paid" })).toMatchObject({
    recovery_point: "started",
  });
  const large = await service.workStage(await newKey(service), () => ({ response_code: 99_999 }));
  expect(large.response_code).toBe(99_999);
});

describe("a column that is misspelt", () => {
  test.each([
    ["recoveryPoint", "recovery_point"],
    ["responseCode", "response_code"],
    ["responce_code", "response_code"],
    ["response-body", "response_body"],
    ["RequestPath", "request_path"],
    ["request_parms", "request_params"],
    ["idempotencyKey", "idempotency_key"],
    ["createdAt", "created_at"],
    ["lockedAt", "locked_at"],
  ])("%s is refused by create and update", async (name, column) => {
    const service = database.service();
    const key = await newKey(service);
    const before = await stored(key);
    const given = { [name]: "x" };
    for (const [method, call] of [
      ["create", () => service.create(given)],
      ["update", () => service.update(key, given)],
    ]) {
      const error = await rejection(call());
      expect(error).toMatchObject({ type: "invalid_data", status: 400 });
      expect(error.message).toBe(`${method}: ${name}: did you mean ${column}?`);
    }
    expect(given).toEqual({ [name]: "x" });
    expect(await stored(key)).toEqual(before);
  });

  test("other names are ignored, as Medusa's service does", async () => {
    const service = database.service();
    const other = {
      updated_at: new Date(),
      deleted_at: null,
      metadata: {},
      object: "idempotency_key",
      path: "/",
      body: {},
      key: "k",
    };
    const key = await service.create({ ...other, request_path: "/a" });
    expect(key.request_path).toBe("/a");
    expect(await service.update(key, { ...other, request_path: "/b" })).toMatchObject({
      request_path: "/b",
    });
  });
});

test("a key that is resolved is taken back whole", async () => {
  const service = database.service();
  const key = await service.create({ idempotency_key: randomUUID() });
  expect(await service.update(key, { ...key, request_path: "/c" })).toMatchObject({
    request_path: "/c",
  });
});
