"use strict";

// Tables of idempotency keys that their owners have changed.

const { randomUUID } = require("node:crypto");
const { rejection, useDatabase } = require("./helpers/database");
const { HANDLES } = require("./helpers/handles");

const PARTITIONS = 4;
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

describe("a table that is partitioned by the key", () => {
  const database = useDatabase();
  let service;

  beforeAll(async () => {
    await database.pool.query(`
      ALTER TABLE idempotency_key RENAME TO plain;
      CREATE TABLE idempotency_key (LIKE plain INCLUDING DEFAULTS, PRIMARY KEY (idempotency_key))
        PARTITION BY HASH (idempotency_key)`);
    for (let remainder = 0; remainder < PARTITIONS; remainder += 1) {
      await database.pool.query(`CREATE TABLE part_${remainder} PARTITION OF idempotency_key
        FOR VALUES WITH (MODULUS ${PARTITIONS}, REMAINDER ${remainder})`);
    }
    service = database.service();
    await service.migrate();
  });

  /** Enough that every partition has some, and that calls at once share a statement. */
  const keysOf = (name) => Array.from({ length: 12 }, (_, number) => `${name}-${number}`);
  const begin = (key) => service.initializeRequest(key, "POST", {}, "/carts");

  async function eachAndAll(name, call) {
    const one = [];
    for (const key of keysOf(`${name}-one`)) {
      one.push(await call(key));
    }
    return [...one, ...(await Promise.all(keysOf(`${name}-all`).map(call)))];
  }

  async function expectEach(name, call, columns) {
    for (const answer of await eachAndAll(name, call)) {
      expect(answer).toMatchObject(columns);
    }
  }

  const created = async (key) => (await service.create({ idempotency_key: key })).idempotency_key;

  test("is created in, and found", async () => {
    await expectEach("made", async (key) => ({ key: await created(key) }), {});
    await expectEach("made", (key) => service.retrieve(key), { recovery_point: "started" });
    expect((await service.create({})).recovery_point).toBe("started");
    const { rows } = await database.pool.query("SELECT DISTINCT tableoid FROM idempotency_key");
    expect(rows).toHaveLength(PARTITIONS);
  });

  test("is refused a key that it has", async () => {
    await created("twice");
    expect((await rejection(created("twice"))).code).toBe("23505");
  });

  test("is locked in, once", async () => {
    await expectEach("lock", async (key) => service.lock(await created(key)), {
      locked_at: expect.any(Date),
    });
    expect((await rejection(service.lock("lock-one-0"))).type).toBe("conflict");
  });

  test("is updated in, also where a key moves to another partition", async () => {
    const answer = { response_code: 201 };
    await expectEach("up", async (key) => service.update(await created(key), answer), answer);
    await expectEach(
      "up",
      (key) => service.update(key, { idempotency_key: `${key}-moved` }),
      answer,
    );
    const moved = async (key) => {
      const begun = await begin(key);
      return service.update(begun, { idempotency_key: `${key}-moved`, locked_at: null });
    };
    await expectEach("begun", moved, { locked_at: null });
  });

  test("has requests that begin, are refused, run and are answered again", async () => {
    await expectEach("twice-begun", begin, { recovery_point: "started" });
    for (const error of await eachAndAll("twice-begun", (key) => rejection(begin(key)))) {
      expect(error.code).toBe("idempotency_key_in_use");
    }
    const finish = async (key) =>
      service.workStage(await begin(key), () => ({ response_code: 202 }));
    await expectEach("stage", finish, { recovery_point: "finished", response_code: 202 });
    const run = (key) =>
      service.runStages(
        { key: key, ...REQUEST },
        {
          started: () => ({ recovery_point: "paid" }),
          paid: () => ({ response_code: 203 }),
        },
      );
    await expectEach("run", run, { response_code: 203, replayed: false });
    await expectEach("run", run, { response_code: 203, replayed: true });
  });

  test("has requests that are released and taken over", async () => {
    const again = async (key) => {
      await service.release(await begin(key));
      return service.attemptOf(await begin(key));
    };
    await expectEach("released", again, { began: "released" });
  });

  test.each(HANDLES)("is written to through %s", async (_, open) => {
    const handles = await open(database);
    const prefix = randomUUID();
    for (const mode of ["exactly-once", "medusa"]) {
      const bindable = handles.service({ mode });
      for (const key of keysOf(`${prefix}-${mode}`)) {
        const done = await handles.transaction(async (handle) => {
          const bound = bindable.withTransaction(handle);
          await bound.create({ idempotency_key: `${key}-made` });
          const begun = await bound.initializeRequest(key, "POST", {}, "/carts");
          return bound.workStage(begun, () => ({ response_code: 204 }));
        });
        expect(done).toMatchObject({ recovery_point: "finished", response_code: 204 });
      }
    }
  });

  test("keeps Medusa's semantics", async () => {
    const medusa = database.service({ mode: "medusa" });
    const unknown = (key) => medusa.initializeRequest(key, "POST", {}, "/carts");
    await expectEach("unknown", unknown, { request_path: "/carts" });
    const known = async (key) => unknown(await created(key));
    await expectEach("known", known, { request_path: null });
  });

  test("is listed from and pruned, each partition", async () => {
    // Emptied, so that an old key of one partition lies where a young one of another does.
    await database.pool.query("TRUNCATE idempotency_key");
    const fields = { recovery_point: "finished", created_at: "2020-01-01" };
    for (const key of keysOf("old")) {
      await service.create({ ...fields, idempotency_key: key });
    }
    for (const key of keysOf("young")) {
      await service.create({ ...fields, idempotency_key: key, created_at: new Date() });
    }
    await service.create({ idempotency_key: "stalled" });
    const stalled = await service.listStalled({ olderThan: 0 });
    expect(stalled.map((key) => key.idempotency_key)).toEqual(["stalled"]);
    const { rows: shared } = await database.pool.query(`
      SELECT FROM idempotency_key young JOIN idempotency_key old ON young.ctid = old.ctid
      WHERE young.idempotency_key LIKE 'young%' AND old.idempotency_key LIKE 'old%'`);
    expect(shared).not.toHaveLength(0);
    expect(await service.prune({ olderThan: "72h" })).toBe(12);
    const { rows } = await database.pool.query(
      "SELECT count(*)::int AS left FROM idempotency_key WHERE recovery_point = 'finished'",
    );
    expect(rows[0].left).toBe(12);
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
