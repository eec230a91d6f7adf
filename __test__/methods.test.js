"use strict";

const { rejection, useDatabase } = require("./helpers/database");

const database = useDatabase();
let service;

beforeAll(() => {
  service = database.service();
});

describe("create", () => {
  test("resolves to a plain object with the ten columns", async () => {
    const before = Date.now();
    const key = await service.create({
      request_method: "POST",
      request_params: { id: "cart_1" },
      request_path: "/store/carts/cart_1/complete",
    });
    expect(key).toStrictEqual({
      id: expect.stringMatching(/^ikey_[0-9A-HJKMNP-TV-Z]{26}$/),
      idempotency_key: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-/),
      created_at: expect.any(Date),
      locked_at: null,
      request_method: "POST",
      request_params: { id: "cart_1" },
      request_path: "/store/carts/cart_1/complete",
      response_code: null,
      response_body: null,
      recovery_point: "started",
    });
    expect(Math.abs(key.created_at.getTime() - before)).toBeLessThan(60_000);
    expect(await service.retrieve(key.idempotency_key)).toEqual(key);
  });

  test("writes a generated key back into the payload, before it is stored", async () => {
    const payload = { request_method: "POST" };
    const creating = service.create(payload);
    const generated = payload.idempotency_key;
    expect(generated).toMatch(/^[0-9a-f-]{36}$/);
    expect((await creating).idempotency_key).toBe(generated);
  });

  test("takes any column, and ignores what is none", async () => {
    const given = {
      id: "ikey_mine",
      idempotency_key: "mine",
      created_at: new Date("2024-01-02T03:04:05.678Z"),
      locked_at: "2024-02-03T04:05:06.789Z",
      request_method: "PUT",
      request_params: [1, "two", null],
      request_path: "/p",
      response_code: 201,
      response_body: "text",
      recovery_point: "halfway",
    };
    const key = await service.create({ ...given, unknown: 1, toString: 2 });
    expect(key).toEqual({ ...given, locked_at: new Date(given.locked_at) });
    expect(await service.retrieve("mine")).toEqual(key);
  });

  test("rejects a key that exists as Medusa's error handler expects", async () => {
    await service.create({ idempotency_key: "twice" });
    const error = await rejection(service.create({ idempotency_key: "twice" }));
    expect(error).toMatchObject({
      name: "QueryFailedError",
      code: "23505",
      detail: "Key (idempotency_key)=(twice) already exists.",
      table: "idempotency_key",
      schema: "public",
      constraint: expect.stringContaining("idempotency_key"),
    });
  });

  test.each([
    ["an object", { a: { b: [1, 2.5, "x", true, null] } }],
    ["an array", [1, [2]]],
    ["a string", "text"],
    ["zero", 0],
    ["false", false],
    ["a key called __proto__", JSON.parse('{"__proto__": {"polluted": true}}')],
    ["a number beyond 2^53", 2 ** 60],
    ["text of all planes", "é漢😀"],
  ])("stores %s as JSON", async (_, value) => {
    const { idempotency_key } = await service.create({
      request_params: value,
      response_body: value,
    });
    const stored = await service.retrieve(idempotency_key);
    expect(stored.request_params).toEqual(value);
    expect(stored.response_body).toEqual(value);
  });
});

describe("initializeRequest", () => {
  test.each([[""], [null], [undefined]])("makes a new key for %p", async (headerKey) => {
    const key = await service.initializeRequest(headerKey, "POST", { id: "x" }, "/");
    expect(key).toMatchObject({
      recovery_point: "started",
      request_method: "POST",
      request_params: { id: "x" },
      request_path: "/",
    });
  });

  test.each([
    ["client-1", "client-1"],
    ['"client-2"', "client-2"],
    ["k".repeat(255), "k".repeat(255)],
  ])("adopts the client's key, with a lease: %s", async (header, adopted) => {
    const key = await service.initializeRequest(header, "POST", {}, "/");
    expect(key).toMatchObject({ idempotency_key: adopted, locked_at: expect.any(Date) });
    expect(await service.retrieve(adopted)).toEqual(key);
  });

  test.each([["a b"], ["schlüssel"], ['""'], ["k".repeat(256)]])(
    "refuses what is no key of a client's: %s",
    async (header) => {
      expect(await rejection(service.initializeRequest(header, "POST", {}, "/"))).toMatchObject({
        type: "invalid_data",
        code: "invalid_idempotency_key",
      });
    },
  );

  test("goes on with a known key that nobody works on", async () => {
    const key = await service.create({ idempotency_key: "left", recovery_point: "halfway" });
    expect(await service.initializeRequest("left", "POST", {}, "/")).toEqual({
      ...key,
      locked_at: expect.any(Date),
    });
  });

  test("answers a finished key as it is", async () => {
    const key = await service.create({ idempotency_key: "done", recovery_point: "finished" });
    expect(await service.initializeRequest("done", "POST", {}, "/")).toEqual(key);
  });

  test("refuses a key whose request is in progress, until its lease has run out", async () => {
    await service.initializeRequest("busy", "POST", {}, "/");
    expect(await rejection(service.initializeRequest("busy", "POST", {}, "/"))).toMatchObject({
      type: "conflict",
      code: "idempotency_key_in_use",
    });
    const later = database.service({ leaseTimeout: 1, waitTimeout: 10_000 });
    const taken = await later.initializeRequest("busy", "POST", {}, "/");
    expect(taken.idempotency_key).toBe("busy");
  });

  test.each([
    ["method", "PUT", { id: 1 }, "/a"],
    ["parameters", "POST", { id: 2 }, "/a"],
    ["path", "POST", { id: 1 }, "/b"],
  ])("refuses the key of a request with another %s", async (what, ...other) => {
    const header = `of-another-${what}`;
    const key = await service.initializeRequest(header, "POST", { id: 1 }, "/a");
    await service.update(key, { recovery_point: "finished" });
    expect(await rejection(service.initializeRequest(header, ...other))).toMatchObject({
      type: "duplicate_error",
      code: "idempotency_key_reused",
    });
  });

  describe('in mode "medusa"', () => {
    let likeMedusas;

    beforeAll(() => {
      likeMedusas = database.service({ mode: "medusa" });
    });

    test("finds a known key, whoever works on it and whatever it was used for", async () => {
      const key = await service.initializeRequest("known", "POST", {}, "/");
      expect(await likeMedusas.initializeRequest("known", "PUT", [], "/else")).toEqual(key);
    });

    test("replaces an unknown key by a generated one", async () => {
      const key = await likeMedusas.initializeRequest("unknown", "POST", {}, "/");
      expect(key.idempotency_key).not.toBe("unknown");
      expect((await rejection(service.retrieve("unknown"))).type).toBe("not_found");
    });
  });
});

test("a flow that another has passed by can change nothing any more", async () => {
  const quick = database.service({ leaseTimeout: 1, waitTimeout: 10_000 });
  const slow = await quick.initializeRequest("", "POST", {}, "/");
  const retry = await quick.initializeRequest(slow.idempotency_key, "POST", {}, "/");
  const changed = await quick.update(retry, { recovery_point: "a" });
  expect(await rejection(quick.update(slow, { response_code: 500 }))).toMatchObject({
    type: "conflict",
    code: "lease_lost",
  });
  expect(await quick.retrieve(slow.idempotency_key)).toEqual(changed);
});

test("lock, update and workStage take a key as it was resolved to, too", async () => {
  const key = await service.initializeRequest("as-an-object", "POST", {}, "/");
  await service.lock(key);
  expect((await service.update(key, { response_code: 201 })).response_code).toBe(201);
  expect((await service.workStage(key, () => ({}))).recovery_point).toBe("finished");
});

describe("retrieve", () => {
  test("rejects an unknown key", async () => {
    const error = await rejection(service.retrieve("nowhere"));
    expect(error).toMatchObject({
      type: "not_found",
      message: "Idempotency key nowhere was not found",
      date: expect.any(Date),
    });
    expect(error.name).toBe("Error");
    expect(Object.keys(error)).toEqual(expect.arrayContaining(["type", "code", "message", "date"]));
  });

  test.each([[undefined], [null]])("rejects %p", async (nothing) => {
    expect(await rejection(service.retrieve(nothing))).toMatchObject({
      type: "not_found",
      message: '"idempotencyKeyOrSelector" must be defined',
    });
  });
});

describe("lock", () => {
  test("locks on the database's clock, once", async () => {
    const { idempotency_key: key } = await service.create({});
    const locked = await service.lock(key);
    const { rows } = await database.pool.query(
      "SELECT locked_at, locked_at BETWEEN now() - interval '5 s' AND now() AS recent FROM idempotency_key WHERE idempotency_key = $1",
      [key],
    );
    expect(rows[0].recent).toBe(true);
    expect(locked.locked_at).toEqual(rows[0].locked_at);
    expect(await rejection(service.lock(key))).toMatchObject({
      type: "conflict",
      message: "Key already locked",
    });
  });

  test("can be taken again after lockTimeout", async () => {
    const quick = database.service({ lockTimeout: 1 });
    const { idempotency_key: key } = await quick.create({
      locked_at: new Date(Date.now() - 100),
    });
    expect((await quick.lock(key)).idempotency_key).toBe(key);
    const patient = database.service({ lockTimeout: 60_000 });
    expect((await rejection(patient.lock(key))).type).toBe("conflict");
  });

  test("rejects an unknown key", async () => {
    expect((await rejection(service.lock("nowhere"))).type).toBe("not_found");
  });
});

describe("update", () => {
  test("leaves what is undefined, clears what is null, ignores what is no column", async () => {
    const { idempotency_key: key } = await service.create({
      request_method: "POST",
      request_path: "/",
      response_code: 200,
    });
    const updated = await service.update(key, {
      request_method: undefined,
      request_path: null,
      recovery_point: "halfway",
      nonsense: 1,
    });
    expect(updated).toMatchObject({
      request_method: "POST",
      request_path: null,
      response_code: 200,
      recovery_point: "halfway",
    });
    expect(await service.retrieve(key)).toEqual(updated);
  });

  test("takes times as Date and as ISO text", async () => {
    const { idempotency_key: key } = await service.create({});
    const time = "2024-05-06T07:08:09.123Z";
    expect((await service.update(key, { locked_at: time })).locked_at).toEqual(new Date(time));
    const date = new Date("2025-01-01T00:00:00.001Z");
    expect((await service.update(key, { locked_at: date })).locked_at).toEqual(date);
    expect((await service.update(key, { locked_at: null })).locked_at).toBeNull();
  });

  test("renames a key", async () => {
    const { id } = await service.create({ idempotency_key: "old name" });
    await service.update("old name", { idempotency_key: "new name" });
    expect((await service.retrieve("new name")).id).toBe(id);
    expect((await rejection(service.retrieve("old name"))).type).toBe("not_found");
  });

  test("resolves to the caller's own response body", async () => {
    const { idempotency_key: key } = await service.create({});
    const response_body = { order: { id: "order_1" } };
    expect((await service.update(key, { response_body })).response_body).toBe(response_body);
  });

  test("of nothing resolves to the key", async () => {
    const key = await service.create({});
    expect(await service.update(key.idempotency_key, {})).toEqual(key);
  });

  test("rejects an unknown key", async () => {
    expect((await rejection(service.update("nowhere", { response_code: 1 }))).type).toBe(
      "not_found",
    );
    expect((await rejection(service.update("nowhere", {}))).type).toBe("not_found");
  });
});

test("a request whose first try was given back this very moment can be tried again", async () => {
  const { idempotency_key: key } = await service.initializeRequest("", "POST", {}, "/");
  for (let round = 0; round < 20; round += 1) {
    await service.atomicPhase_(async (manager) => {
      const stage = service.withTransaction(manager).workStage(key, () => Promise.reject("no"));
      expect(await rejection(stage)).toBe("no");
    });
    await service.initializeRequest(key, "POST", {}, "/");
  }
});

describe("a trigger that changes what is stored", () => {
  beforeAll(() =>
    database.pool.query(`
      CREATE FUNCTION upper_path() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN NEW.request_path := upper(NEW.request_path); RETURN NEW; END';
      CREATE TRIGGER upper_path BEFORE INSERT OR UPDATE ON idempotency_key
      FOR EACH ROW EXECUTE FUNCTION upper_path()`),
  );

  afterAll(() => database.pool.query("DROP FUNCTION upper_path() CASCADE"));

  test("changes the answers of create and update", async () => {
    const key = await service.create({ request_path: "/path" });
    expect(key.request_path).toBe("/PATH");
    const updated = await service.update(key.idempotency_key, { request_path: "/other" });
    expect(updated.request_path).toBe("/OTHER");
    expect(await service.retrieve(key.idempotency_key)).toEqual(updated);
  });

  test("changes the answers of many calls at once", async () => {
    const paths = Array.from({ length: 20 }, (_, number) => `/path/${number}`);
    const keys = await Promise.all(paths.map((path) => service.create({ request_path: path })));
    expect(keys.map((key) => key.request_path)).toEqual(paths.map((path) => path.toUpperCase()));
    const updates = keys.map((key) =>
      service.update(key.idempotency_key, { request_path: "/other" }),
    );
    for (const updated of await Promise.all(updates)) {
      expect(updated.request_path).toBe("/OTHER");
    }
  });
});
