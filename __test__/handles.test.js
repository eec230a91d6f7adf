"use strict";

// What holds in every transaction that a service can be bound to, whichever library has it open.

const { rejection, useDatabase } = require("./helpers/database");
const { HANDLES } = require("./helpers/handles");

const database = useDatabase();

const MEGABYTE = 2 ** 20;
const AT_ONCE = 20;
const ended = { type: "unexpected_state", code: "transaction_ended" };
const notFound = { type: "not_found" };
const refused = { type: "invalid_argument", code: "invalid_manager" };

beforeAll(() => database.pool.query("CREATE TABLE effect (name text)"));
beforeEach(() => database.pool.query("TRUNCATE effect, idempotency_key"));

async function effects() {
  const { rows } = await database.pool.query("SELECT name FROM effect ORDER BY name");
  return rows.map(({ name }) => name);
}

describe.each(HANDLES)("in a transaction of %s", (_, open) => {
  let handles;
  let service;

  beforeAll(async () => {
    handles = await open(database);
    service = handles.service();
  });

  /** Runs work with a service that is bound to a transaction, and with its handle. */
  const inTransaction = (work, of = service) =>
    handles.transaction((handle) => work(of.withTransaction(handle), handle));

  const insert = (handle, name) =>
    handles.query(handle, "INSERT INTO effect (name) VALUES ($1)", [name]);

  describe.each(["exactly-once", "medusa"])("mode %s", (mode) => {
    let likewise;

    beforeAll(() => {
      likewise = handles.service({ mode });
    });

    /** Every method that works on keys, once. */
    async function everything(bound) {
      const request = { request_method: "POST", request_params: { a: [1] }, request_path: "/a" };
      const created = await bound.create({ ...request, idempotency_key: "created" });
      expect(created).toStrictEqual({
        ...request,
        id: expect.stringMatching(/^ikey_/),
        idempotency_key: "created",
        created_at: expect.any(Date),
        locked_at: null,
        response_code: null,
        response_body: null,
        recovery_point: "started",
      });
      expect(await bound.retrieve("created")).toStrictEqual(created);
      expect(await bound.retrieve({ request_params: { a: [1] } })).toStrictEqual(created);
      const begun = await bound.initializeRequest("created", "POST", { a: [1] }, "/a");
      expect(begun).toMatchObject({ ...created, locked_at: begun.locked_at });
      expect((await bound.lock("created")).locked_at).toBeInstanceOf(Date);
      const updated = await bound.update("created", { recovery_point: "paid" });
      expect(updated.recovery_point).toBe("paid");
      const body = { done: true };
      const worked = await bound.workStage(updated, () => ({
        response_code: 201,
        response_body: body,
      }));
      expect(worked).toMatchObject({ recovery_point: "finished", response_code: 201 });
      expect(worked.response_body).toBe(body);
      const staged = await bound.runStages(
        { key: null, method: "POST", path: "/staged" },
        {
          started: () => ({ recovery_point: "half" }),
          half: () => ({ response_code: 200, response_body: body }),
        },
      );
      expect(staged).toMatchObject({ response_code: 200, response_body: body, replayed: false });
      return ["created", staged.idempotency_key];
    }

    test("every operation is committed with it", async () => {
      const keys = await inTransaction(async (bound) => {
        const made = await everything(bound);
        for (const key of made) {
          expect(await rejection(service.retrieve(key))).toMatchObject(notFound);
        }
        return made;
      }, likewise);
      for (const key of keys) {
        expect((await service.retrieve(key)).recovery_point).toBe("finished");
      }
    });

    test("every operation is rolled back with it", async () => {
      const failure = new Error("undo");
      let made;
      const transaction = inTransaction(async (bound) => {
        made = await everything(bound);
        throw failure;
      }, likewise);
      expect(await rejection(transaction)).toBe(failure);
      for (const key of made) {
        expect(await rejection(service.retrieve(key))).toMatchObject(notFound);
      }
    });

    test("a stage receives that very handle, and its work is the transaction's", async () => {
      await service.create({ idempotency_key: "k" });
      await inTransaction(
        (bound, handle) =>
          bound.workStage("k", async (given) => {
            expect(given).toBe(handle);
            await insert(given, "stage");
            expect(await effects()).toEqual([]);
            return { response_code: 200 };
          }),
        likewise,
      );
      expect(await effects()).toEqual(["stage"]);
      expect((await service.retrieve("k")).recovery_point).toBe("finished");
    });
  });

  test("a request whose transaction is rolled back can be tried again", async () => {
    const request = { key: "again", method: "POST", path: "/again" };
    const attempt = (ending) =>
      inTransaction(async (bound, handle) => {
        const answer = await bound.runStages(request, {
          started: async () => {
            await insert(handle, "once");
            return { response_code: 201, response_body: { n: 1 } };
          },
        });
        ending();
        return answer;
      });
    const failure = new Error("the commit is lost");
    const failing = attempt(() => {
      throw failure;
    });
    expect(await rejection(failing)).toBe(failure);
    expect(await attempt(() => {})).toMatchObject({ response_code: 201, replayed: false });
    expect(await attempt(() => {})).toMatchObject({ response_body: { n: 1 }, replayed: true });
    expect(await effects()).toEqual(["once"]);
  });

  test.each([
    ["an Error", () => new TypeError("no")],
    ["text", () => "no"],
    ["undefined", () => undefined],
    ["null", () => null],
    ["an object with an SQLSTATE", () => ({ code: "40001" })],
    ["what is frozen", () => Object.freeze(new Error("no"))],
  ])("what a callback fails with is rejected as it is: %s", async (_name, make) => {
    await service.create({ idempotency_key: "k" });
    const thrown = make();
    const properties = Object.keys(Object(thrown));
    const callback = jest.fn(() => Promise.reject(thrown));
    const transaction = inTransaction((bound) => bound.workStage("k", callback));
    expect(await rejection(transaction)).toBe(thrown);
    expect(Object.keys(Object(thrown))).toEqual(properties);
    expect(callback).toHaveBeenCalledTimes(1);
    expect((await service.retrieve("k")).recovery_point).toBe("started");
  });

  test("what the database refuses has its SQLSTATE and its details", async () => {
    await service.create({ idempotency_key: "twice" });
    const twice = inTransaction((bound) => bound.create({ idempotency_key: "twice" }));
    expect(await rejection(twice)).toMatchObject({
      code: "23505",
      detail: "Key (idempotency_key)=(twice) already exists.",
      table: "idempotency_key",
      status: 422,
    });
  });

  test("what a callback's statement fails with has its SQLSTATE", async () => {
    await service.create({ idempotency_key: "k" });
    const transaction = inTransaction((bound, handle) =>
      bound.workStage("k", () => handles.query(handle, "SELECT 1 / $1::int", [0])),
    );
    expect(await rejection(transaction)).toMatchObject({ code: "22012" });
  });

  test("a stage whose callback has ended it stores nothing", async () => {
    await service.create({ idempotency_key: "k" });
    const transaction = inTransaction((bound, handle) =>
      bound.workStage("k", async () => {
        await insert(handle, "undone");
        await handles.rollBack(handle);
        return { response_code: 200 };
      }),
    );
    expect(await rejection(transaction)).toMatchObject({ type: "unexpected_state" });
    expect(await effects()).toEqual([]);
    expect((await service.retrieve("k")).recovery_point).toBe("started");
  });

  test("a handle whose transaction has ended is refused", async () => {
    await service.create({ idempotency_key: "k" });
    let kept;
    await handles.transaction((handle) => (kept = handle) && undefined);
    expect(handles.isOpen(kept)).toBe(false);
    const bound = service.withTransaction(kept);
    const callback = jest.fn();
    for (const call of [
      () => bound.create({}),
      () => bound.retrieve("k"),
      () => bound.lock("k"),
      () => bound.update("k", { response_code: 200 }),
      () => bound.initializeRequest("new", "POST", {}, "/"),
      () => bound.workStage("k", callback),
      () => bound.runStages({ key: "new" }, { started: callback }),
    ]) {
      expect(await rejection(call())).toMatchObject(ended);
    }
    expect(callback).not.toHaveBeenCalled();
  });

  test("a nested one is undone alone", async () => {
    const failure = new Error("inner");
    await inTransaction(async (bound, handle) => {
      await bound.create({ idempotency_key: "outer" });
      const inner = handles.nested(handle, async (nested) => {
        const within = service.withTransaction(nested);
        await within.create({ idempotency_key: "inner" });
        await within.workStage("outer", () => ({ response_code: 200 }));
        throw failure;
      });
      expect(await rejection(inner)).toBe(failure);
      await handles.nested(handle, (nested) =>
        service.withTransaction(nested).create({ idempotency_key: "second" }),
      );
    });
    expect(await rejection(service.retrieve("inner"))).toMatchObject(notFound);
    expect((await service.retrieve("outer")).recovery_point).toBe("started");
    expect((await service.retrieve("second")).recovery_point).toBe("started");
  });

  test("atomicPhase_ runs in it", async () => {
    await inTransaction(async (bound, handle) => {
      const work = async (given) => {
        expect(given).toBe(handle);
        await insert(given, "phase");
        return "done";
      };
      expect(await bound.atomicPhase_(work, "SERIALIZABLE")).toBe("done");
      expect(await effects()).toEqual([]);
    });
    expect(await effects()).toEqual(["phase"]);
  });

  test("the error handler of atomicPhase_ finds it rolled back", async () => {
    const failure = new Error("no");
    let openInHandler;
    const transaction = inTransaction(async (bound, handle) => {
      await insert(handle, "undone");
      await bound.atomicPhase_(
        () => Promise.reject(failure),
        () => (openInHandler = handles.isOpen(handle)),
        true,
      );
    });
    await rejection(transaction);
    expect(openInHandler).toBe(false);
    expect(await effects()).toEqual([]);
  });

  test("nobody waits in it for a request in progress", async () => {
    const patient = handles.service({ waitTimeout: 60_000 });
    await service.initializeRequest("busy", "POST", {}, "/");
    const transaction = inTransaction(
      (bound) => rejection(bound.initializeRequest("busy", "POST", {}, "/")),
      patient,
    );
    expect(await transaction).toMatchObject({ code: "idempotency_key_in_use" });
  });

  test("null is stored as NULL", async () => {
    await inTransaction(async (bound, handle) => {
      const given = { request_method: null, request_params: null, request_path: null };
      const key = await bound.create({ ...given, idempotency_key: "k", response_code: 200 });
      expect(key).toMatchObject({ ...given, response_code: 200 });
      const cleared = await bound.update("k", { response_code: null, response_body: null });
      expect(cleared).toMatchObject({ response_code: null, response_body: null });
      const sql = "SELECT count(*)::int AS count FROM idempotency_key WHERE num_nulls(";
      const columns = "request_method, request_params, request_path, response_code, response_body";
      const rows = await handles.query(handle, `${sql}${columns}) = $1`, [5]);
      expect(rows).toEqual([{ count: 1 }]);
    });
  });

  test("texts of a megabyte come back whole", async () => {
    const text = `"\\ é ${"x".repeat(MEGABYTE)}`;
    await inTransaction(async (bound) => {
      const key = await bound.create({ idempotency_key: "large", request_params: { text } });
      expect(key.request_params).toEqual({ text });
      await bound.workStage(key, () => ({ response_code: 200, response_body: [text] }));
    });
    const stored = await service.retrieve("large");
    expect(stored.request_params.text === text).toBe(true);
    expect(stored.response_body[0] === text).toBe(true);
  });

  test("calls that are made at once are all answered", async () => {
    const names = Array.from({ length: AT_ONCE }, (_each, index) => `key-${index}`);
    await inTransaction(async (bound) => {
      const created = await Promise.all(
        names.map((idempotency_key) => bound.create({ idempotency_key })),
      );
      expect(created.map((key) => key.idempotency_key)).toEqual(names);
      const calls = names.map((name, index) =>
        index % 2 ? bound.retrieve(name) : bound.update(name, { recovery_point: name }),
      );
      const found = await Promise.all(calls);
      expect(found.map((key) => key.idempotency_key)).toEqual(names);
    });
    expect((await service.retrieve("key-2")).recovery_point).toBe("key-2");
  });

  test("the table is that of the schema which is named where the transaction is opened", async () => {
    await handles.service({ schema: "shop" }).migrate();
    const inShop = await open(database, { schema: "shop" });
    const ofShop = inShop.service();
    const { idempotency_key: key } = await inShop.transaction(async (handle) => {
      const created = await ofShop.withTransaction(handle).create({});
      const bound = inShop.service({ schema: "shop" }).withTransaction(handle);
      return bound.workStage(created.idempotency_key, () => ({ response_code: 200 }));
    });
    expect((await ofShop.retrieve(key)).recovery_point).toBe("finished");
    expect(await rejection(service.retrieve(key))).toMatchObject(notFound);
  });

  test("what is passed in its place by mistake is refused", async () => {
    const mistakes = [
      ["an object", {}],
      ["text", "manager"],
      ["a number", 5],
      ["a function", () => {}],
      ["what has the methods", { query() {}, transaction() {}, queryRunner: {} }],
      ...handles.mistakes(),
    ];
    for (const [name, value] of mistakes) {
      const bound = service.withTransaction(value);
      const calls = [
        bound.create({}),
        bound.retrieve("k"),
        bound.workStage("k", () => ({})),
        bound.atomicPhase_(() => {}),
      ];
      for (const call of calls) {
        expect([name, await rejection(call)]).toMatchObject([name, refused]);
      }
    }
  });
});
