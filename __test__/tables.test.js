"use strict";

// Tables of idempotency keys that their owners have changed.

const { rejection, useDatabase } = require("./helpers/database");

const REQUEST = { method: "POST", path: "/carts", params: {} };

describe("a table whose trigger swallows what is inserted", () => {
  const database = useDatabase();
  let service;

  beforeAll(async () => {
    service = database.service({ waitTimeout: 60_000 });
    await database.pool.query(`
      CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
      CREATE TRIGGER swallow BEFORE INSERT ON idempotency_key FOR EACH ROW EXECUTE FUNCTION swallow()`);
  });

  const begin = (key) => service.initializeRequest(key, "POST", {}, "/carts");
  const CALLS = [
    ["create", (key) => service.create({ idempotency_key: key })],
    ["create of a new key", () => service.create({})],
    ["initializeRequest", begin],
    ["begin", (key) => service.begin({ key, ...REQUEST })],
    ["runStages", (key) => service.runStages({ key, ...REQUEST }, { started: neverRuns })],
  ];

  test.each(CALLS)("is told to the caller of %s, who does not wait", async (_, call) => {
    expect(await rejection(call("swallowed"))).toMatchObject({
      type: "unexpected_state",
      code: "row_swallowed",
      status: 500,
      message: expect.stringContaining("trigger"),
    });
  });

  test("is told to each of many callers", async () => {
    const errors = await Promise.all(["a", "b", "c"].map((key) => rejection(begin(key))));
    expect(errors.map(({ code }) => code)).toEqual(Array(3).fill("row_swallowed"));
  });

  test("is told in a transaction of the caller's own", async () => {
    const error = await rejection(
      service.atomicPhase_((manager) =>
        service.withTransaction(manager).initializeRequest("bound", "POST", {}, "/carts"),
      ),
    );
    expect(error.code).toBe("row_swallowed");
  });
});

function neverRuns() {
  throw new Error("a stage ran without a key");
}
