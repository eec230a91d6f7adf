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

describe("a table whose columns are altered while a process uses it", () => {
  const database = useDatabase();

  test.each([
    ["response_code", "bigint"],
    ["response_code", "smallint"],
    ["response_code", "text"],
    ["response_code", "numeric"],
    ["response_body", "json"],
    ["response_body", "text"],
    ["id", "character(60)"],
    ["recovery_point", "text"],
    ["created_at", "timestamp"],
  ])("answers the same: %s as %s", async (column, type) => {
    const service = database.service();
    const columns = { response_code: 201, response_body: { a: 1 } };
    const keyOf = (name) => `${column} ${type} ${name}`;
    const create = (name) => service.create({ idempotency_key: keyOf(name), ...columns });
    await create("before");
    await database.pool.query(
      `ALTER TABLE idempotency_key ALTER ${column} DROP DEFAULT,
         ALTER ${column} TYPE ${type} USING ${column}::${type}`,
    );
    const made = [await create("one"), ...(await Promise.all(["a", "b", "c"].map(create)))];
    for (const key of made) {
      expect(key).toMatchObject(columns);
      expect(await service.retrieve(key.idempotency_key)).toEqual(key);
    }
    expect(await service.update(keyOf("before"), { response_code: 202 })).toMatchObject({
      ...columns,
      response_code: 202,
    });
    expect(await service.lock(keyOf("one"))).toMatchObject(columns);
  });

  test("inserts nothing that it cannot answer", async () => {
    const service = database.service();
    await database.pool.query(`
      ALTER TABLE idempotency_key ALTER response_code TYPE text;
      CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.response_code := ''no number''; RETURN NEW; END';
      CREATE TRIGGER spoil BEFORE INSERT ON idempotency_key FOR EACH ROW EXECUTE FUNCTION spoil()`);
    const keys = ["spoilt", "spoilt a", "spoilt b", "spoilt c"];
    const create = (key) => rejection(service.create({ idempotency_key: key }));
    const errors = [await create(keys[0]), ...(await Promise.all(keys.slice(1).map(create)))];
    expect(errors.map(({ code }) => code)).toEqual(keys.map(() => "22P02"));
    const { rows } = await database.pool.query(
      "SELECT FROM idempotency_key WHERE idempotency_key LIKE 'spoilt%'",
    );
    expect(rows).toHaveLength(0);
  });
});

function neverRuns() {
  throw new Error("a stage ran without a key");
}
