"use strict";

const { randomBytes } = require("node:crypto");
const { And, In, IsNull, Not } = require("typeorm");
const { IdempotencyKeyService, TransactionManager } = require("..");
const { rejection, useDatabase } = require("./helpers/database");

const database = useDatabase();
let service;

beforeAll(async () => {
  service = database.service();
  await database.pool.query("CREATE TABLE work (name text)");
});

afterEach(async () => {
  const { idempotency_key: key } = await service.create({ request_path: "/still-works" });
  await service.workStage(key, () => ({ response_code: 200, response_body: "ok" }));
  expect(await service.retrieve(key)).toMatchObject({ response_code: 200, response_body: "ok" });
});

/** What a call rejects with; a call that throws instead fails the test. */
function refusal(call) {
  const promise = call();
  expect(promise).toBeInstanceOf(Promise);
  return rejection(promise);
}

/** What a construction throws. */
function thrownBy(construct) {
  try {
    construct();
  } catch (error) {
    return error;
  }
  throw new Error("the construction was expected to throw");
}

async function newKey(columns = {}) {
  return (await service.create(columns)).idempotency_key;
}

async function count(table) {
  const { rows } = await database.pool.query(`SELECT count(*)::int AS count FROM ${table}`);
  return rows[0].count;
}

/** Checks that a call rejects, and stores nothing. */
async function refusalThatStoresNothing(call) {
  const before = await count("idempotency_key");
  const error = await refusal(call);
  expect(await count("idempotency_key")).toBe(before);
  return error;
}

/** Checks that a stage whose callback returns this rejects, leaves no trace and is not repeated. */
async function refusalOfOutcome(outcome) {
  const key = await newKey();
  const before = await service.retrieve(key);
  let runs = 0;
  const error = await refusal(() =>
    service.workStage(key, async (manager) => {
      runs += 1;
      await manager.query("INSERT INTO work VALUES ('done')");
      return outcome;
    }),
  );
  expect(runs).toBe(1);
  expect(await count("work")).toBe(0);
  expect(await service.retrieve(key)).toEqual(before);
  return error;
}

function circle() {
  const value = { name: "circle" };
  value.itself = value;
  return value;
}

/** The calls that take a key's columns, each with where the columns go. */
const WRITES = [
  ["create", (columns) => service.create(columns)],
  ["update", async (columns) => service.update(await newKey(), columns)],
];

const KEY_CALLS = [
  ["retrieve", (key) => service.retrieve(key)],
  ["lock", (key) => service.lock(key)],
  ["update", (key) => service.update(key, { response_code: 200 })],
  ["update of nothing", (key) => service.update(key, {})],
  ["workStage", (key) => service.workStage(key, () => ({}))],
];

describe("U+0000", () => {
  test.each(
    WRITES.flatMap(([name, write]) =>
      ["id", "idempotency_key", "request_method", "request_path", "recovery_point"].map(
        (column) => [name, column, write],
      ),
    ),
  )("in text that %s is given for %s is 22021", async (_, column, write) => {
    expect(await refusal(() => write({ [column]: "a\0b" }))).toMatchObject({
      name: "QueryFailedError",
      code: "22021",
    });
  });

  test.each(KEY_CALLS)("in the key of %s is 22021", async (_, call) => {
    expect((await refusal(() => call("a\0b"))).code).toBe("22021");
  });

  test("in the key of initializeRequest is no key of a client's", async () => {
    const request = ["a\0b", "POST", {}, "/"];
    const error = await refusalThatStoresNothing(() => service.initializeRequest(...request));
    expect(error).toMatchObject({ type: "invalid_data", code: "invalid_idempotency_key" });
    const likeMedusas = database.service({ mode: "medusa" });
    expect((await refusal(() => likeMedusas.initializeRequest(...request))).code).toBe("22021");
  });

  test.each([
    ["the method", [undefined, "a\0b", {}, "/"]],
    ["the path", ["key", "POST", {}, "a\0b"]],
  ])("in %s of initializeRequest is 22021", async (_, request) => {
    const error = await refusalThatStoresNothing(() => service.initializeRequest(...request));
    expect(error.code).toBe("22021");
  });

  test.each([
    ["a string", "a\0b"],
    ["a nested string", { a: [{ b: "\0" }] }],
    ["a property's name", { "a\0": 1 }],
  ])("in JSON, as %s, is 22P05", async (_, value) => {
    const key = await newKey();
    for (const columns of [{ request_params: value }, { response_body: value }]) {
      expect((await refusalThatStoresNothing(() => service.create(columns))).code).toBe("22P05");
      expect((await refusal(() => service.update(key, columns))).code).toBe("22P05");
    }
    const request = [undefined, "POST", value, "/"];
    expect((await refusal(() => service.initializeRequest(...request))).code).toBe("22P05");
    expect((await refusalOfOutcome({ response_body: value })).code).toBe("22P05");
  });

  test("in a recovery point is 22021, and rolls back", async () => {
    expect((await refusalOfOutcome({ recovery_point: "a\0b" })).code).toBe("22021");
  });
});

describe("a lone surrogate", () => {
  test.each([
    ["a high one", "\ud800"],
    ["a low one", { a: "x\udc00y" }],
    ["one in a property's name", { "\ud83d": 1 }],
    ["two in the wrong order", ["\ude00\ud83d"]],
  ])("in JSON, as %s, is 22P02", async (_, value) => {
    const key = await newKey();
    for (const columns of [{ request_params: value }, { response_body: value }]) {
      expect((await refusalThatStoresNothing(() => service.create(columns))).code).toBe("22P02");
      expect((await refusal(() => service.update(key, columns))).code).toBe("22P02");
    }
    expect((await refusalOfOutcome({ response_body: value })).code).toBe("22P02");
  });

  test("in text becomes U+FFFD, as in pg, and the key is found by the same text", async () => {
    const { id } = await service.create({ idempotency_key: "text \ud800" });
    const { rows } = await database.pool.query(
      "SELECT idempotency_key FROM idempotency_key WHERE id = $1",
      [id],
    );
    expect(rows[0].idempotency_key).toBe("text \ufffd");
    expect((await service.retrieve("text \ud800")).id).toBe(id);
  });
});

describe("a response code", () => {
  const CODES = [
    ["22P02", 1.5],
    ["22P02", "abc"],
    ["22P02", ""],
    ["22P02", true],
    ["22P02", NaN],
    ["22P02", Infinity],
    ["22P02", {}],
    ["22P02", [200, 201]],
    ["22P02", Symbol("200")],
    ["22003", 2 ** 31],
    ["22003", -(2 ** 31) - 1],
    ["22003", "99999999999999999999"],
  ];

  test.each(CODES)("is refused with %s when it is %p", async (code, response_code) => {
    const key = await newKey();
    const created = await refusalThatStoresNothing(() => service.create({ response_code }));
    expect(created).toMatchObject({ name: "QueryFailedError", code });
    expect((await refusal(() => service.update(key, { response_code }))).code).toBe(code);
    expect(await refusalOfOutcome({ response_code })).toMatchObject({ type: "invalid_data" });
  });
});

describe("what is no value of its column", () => {
  test.each([
    ["22007", { created_at: "tomorrow or so" }],
    ["22007", { locked_at: new Date(NaN) }],
    ["22008", { locked_at: "2024-13-45T00:00:00Z" }],
    ["22008", { locked_at: 1_700_000_000_000 }],
  ])("is refused with %s: %p", async (code, columns) => {
    const key = await newKey();
    expect((await refusalThatStoresNothing(() => service.create(columns))).code).toBe(code);
    expect((await refusal(() => service.update(key, columns))).code).toBe(code);
  });

  test.each([["id"], ["idempotency_key"], ["created_at"], ["recovery_point"]])(
    "is null for %s in update, which is 23502 and names the column",
    async (column) => {
      const key = await newKey();
      expect(await refusal(() => service.update(key, { [column]: null }))).toMatchObject({
        code: "23502",
        column,
        table: "idempotency_key",
      });
    },
  );

  test("is a key that no index entry can hold, which is 54000", async () => {
    const key = randomBytes(10_000).toString("hex");
    const error = await refusalThatStoresNothing(() => service.create({ idempotency_key: key }));
    expect(error.code).toBe("54000");
    expect((await refusal(() => service.retrieve(key))).type).toBe("not_found");
  });
});

describe("what JSON.stringify refuses", () => {
  test.each([
    ["a BigInt", () => 1n],
    ["a nested BigInt", () => ({ amounts: [1, 2n] })],
    ["a circle", circle],
  ])("rejects with its TypeError: %s", async (_, make) => {
    const key = await newKey();
    const value = make();
    const { message } = thrownBy(() => JSON.stringify(value));
    const errors = [
      await refusalThatStoresNothing(() => service.create({ request_params: value })),
      await refusalThatStoresNothing(() => service.create({ response_body: value })),
      await refusalThatStoresNothing(() => service.create({ request_path: { deep: value } })),
      await refusal(() => service.initializeRequest("", "POST", value, "/")),
      await refusal(() => service.update(key, { request_params: value })),
      await refusal(() => service.update(key, { response_body: value })),
      await refusalOfOutcome({ response_code: 200, response_body: value }),
    ];
    for (const error of errors) {
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe(message);
    }
  });

  test("rejects with what a toJSON throws", async () => {
    const thrown = new Error("no JSON");
    const value = {
      toJSON() {
        throw thrown;
      },
    };
    const key = await newKey();
    expect(await refusal(() => service.create({ request_params: value }))).toBe(thrown);
    expect(await refusal(() => service.update(key, { response_body: value }))).toBe(thrown);
    expect(await refusalOfOutcome({ response_body: value })).toBe(thrown);
  });
});

describe("what is nested too deeply", () => {
  /** What a body-parser makes of 40 kB. */
  const deep = () => JSON.parse("[".repeat(20_000) + "]".repeat(20_000));

  test("to be written as JSON is invalid_data", async () => {
    const key = await newKey();
    const errors = [
      await refusalThatStoresNothing(() => service.create({ request_params: deep() })),
      await refusalThatStoresNothing(() => service.create({ request_path: deep() })),
      await refusalThatStoresNothing(() => service.begin({ params: deep() })),
      await refusalThatStoresNothing(() => service.begin({ body: deep() })),
      await refusal(() => service.retrieve({ response_body: deep() })),
      await refusalOfOutcome({ response_body: deep() }),
      await refusal(() => service.atomicPhase_((m) => m.query("SELECT $1::jsonb", [deep()]))),
      await refusal(() => service.update(key, { response_body: deep() })),
    ];
    for (const error of errors) {
      expect(error).toMatchObject({ type: "invalid_data", status: 400 });
      expect(error.message).toContain("nested too deeply");
    }
  });

  test("for a selector to be read is invalid_argument", async () => {
    let operator = IsNull();
    for (let level = 0; level < 200; level += 1) {
      operator = Not(operator);
    }
    expect(await refusal(() => service.retrieve({ locked_at: operator }))).toMatchObject({
      type: "invalid_argument",
      message: "not a selector, or one that is nested too deeply",
    });
  });
});

describe("a selector", () => {
  test.each([
    ["in", In(undefined)],
    ["and", And(And())],
  ])("whose operator %s has no list is refused by its name", async (type, operator) => {
    if (type === "and") {
      Object.defineProperty(operator, "value", { value: 5 });
    }
    const error = await refusal(() => service.retrieve({ id: operator }));
    expect(error.type).toBe("invalid_argument");
    expect(error.message).toContain(`operator "${type}" takes an array`);
  });

  test("with half of a surrogate pair in a column's name has no such column", async () => {
    const error = await refusal(() => service.retrieve({ "\ud800": 1 }));
    expect(error).toMatchObject({ type: "invalid_argument" });
    expect(error.message).toContain('Property "\ufffd" was not found');
  });

  test("compares a symbol as the text that it is in a column", async () => {
    const error = await refusal(() => service.retrieve({ id: { contains: Symbol("x") } }));
    expect(error.type).toBe("not_found");
  });
});

describe("a value that is refused", () => {
  const secret = { password: "s3cret" };

  test("is in no message if it is an object", async () => {
    const errors = [
      thrownBy(() => database.service({ schema: secret })),
      thrownBy(() => database.service({ retention: [secret] })),
      await refusal(() => service.prune({ olderThan: secret })),
      await refusal(() => service.runStages({}, { started: () => ({ recovery_point: secret }) })),
    ];
    for (const error of errors) {
      expect(error.message).toMatch(/not (an )?(object|array)/);
      expect(error.message).not.toContain("s3cret");
    }
  });

  test("is a symbol as the method of a request with a body", async () => {
    const attempt = await service.begin({ method: Symbol("POST"), body: {} });
    expect((await attempt.release()).request_method).toBe("Symbol(POST)");
  });

  test("is an error handler before the work, not in place of its error", async () => {
    const work = jest.fn();
    const error = await refusal(() => service.atomicPhase_(work, "SERIALIZABLE", "handler"));
    expect(error).toMatchObject({ type: "invalid_argument" });
    expect(work).not.toHaveBeenCalled();
  });
});

describe("a stage's callback", () => {
  test.each([
    [undefined],
    [null],
    ["x"],
    [""],
    [5],
    [true],
    [5n],
    [Symbol("x")],
    [() => ({ recovery_point: "x" })],
  ])("that returns %p rejects with invalid_data and rolls back", async (outcome) => {
    const error = await refusalOfOutcome(outcome);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ type: "invalid_data", message: expect.stringMatching(/object/) });
  });

  test.each([[5], [true], [Symbol("x")], [{}], [["x"]], [() => "x"], [5n]])(
    "that returns %p as recovery point rejects with invalid_data and rolls back",
    async (recovery_point) => {
      expect(await refusalOfOutcome({ recovery_point })).toMatchObject({
        type: "invalid_data",
        message: expect.stringContaining("recovery_point"),
      });
    },
  );

  test.each(["recovery_point", "response_code", "response_body"])(
    "whose outcome throws when %s is read rejects with that and rolls back",
    async (property) => {
      const thrown = new Error("not readable");
      const getter = Object.defineProperty({}, property, {
        get() {
          throw thrown;
        },
      });
      expect(await refusalOfOutcome(getter)).toBe(thrown);
    },
  );

  test("whose outcome is a Proxy that throws rejects with that and rolls back", async () => {
    const thrown = new Error("no entry");
    const outcome = new Proxy(
      {},
      {
        get(_, name) {
          if (name === "then") {
            return undefined;
          }
          throw thrown;
        },
      },
    );
    expect(await refusalOfOutcome(outcome)).toBe(thrown);
  });

  test("that returns nothing rejects in a bound service, and rolls back with its phase", async () => {
    const key = await newKey();
    const error = await refusal(() =>
      service.atomicPhase_(async (manager) => {
        await manager.query("INSERT INTO work VALUES ('phase')");
        await service.withTransaction(manager).workStage(key, () => undefined);
      }),
    );
    expect(error.type).toBe("invalid_data");
    expect(await count("work")).toBe(0);
    expect((await service.retrieve(key)).recovery_point).toBe("started");
  });

  test.each([[undefined], [null], ["x"], [5], [{}], [Promise.resolve({})]])(
    "has to be a function, which %p is not",
    async (callback) => {
      const key = await newKey();
      const expected = {
        type: "invalid_argument",
        message: expect.stringContaining("function"),
      };
      expect(await refusal(() => service.workStage(key, callback))).toMatchObject(expected);
      expect(await refusal(() => service.atomicPhase_(callback))).toMatchObject(expected);
      expect((await service.retrieve(key)).recovery_point).toBe("started");
    },
  );
});

describe("an isolation level", () => {
  test.each([["SOMETIMES"], ["SERIALIZABLE; DROP TABLE idempotency_key"], [5], [{}]])(
    "that is none is refused before the work runs: %p",
    async (isolation) => {
      const work = jest.fn();
      const error = await refusal(() => service.atomicPhase_(work, isolation));
      expect(error).toMatchObject({
        type: "invalid_argument",
        message: expect.stringContaining("isolation level"),
      });
      expect(work).not.toHaveBeenCalled();
    },
  );
});

describe("a key", () => {
  const NO_KEYS = [[5], [0], [true], [5n], [Symbol("key")], [() => "key"]];

  test.each(NO_KEYS)("has to be a string, which %p is not", async (key) => {
    for (const [, call] of KEY_CALLS) {
      expect(await refusal(() => call(key))).toMatchObject({
        type: "invalid_data",
        message: expect.stringContaining(typeof key),
      });
    }
  });

  test.each([
    [{}, "invalid_data", /has to be a string/],
    [["x"], "invalid_data", /has to be a string/],
    [{ id: "x" }, "invalid_data", /has to be a string/],
    [{ idempotency_key: ["x"] }, "invalid_data", /has to be a string/],
    [{ idempotency_key: "nowhere" }, "not_found", /key nowhere was not found/],
  ])("may be an object that has one, but no selector: %p", async (key, type, message) => {
    for (const [, call] of KEY_CALLS.filter(([name]) => name !== "retrieve")) {
      const error = await refusal(() => call(key));
      expect(error.type).toBe(type);
      expect(error.message).toMatch(message);
    }
  });

  test.each([[{ idempotency_key: "x" }], [["x"]], [5]])(
    "in a header is text, which %p is not",
    async (header) => {
      const call = () => service.initializeRequest(header, "POST", {}, "/");
      expect(await refusalThatStoresNothing(call)).toMatchObject({ type: "invalid_data" });
    },
  );

  test.each([[undefined], [null]])("must be defined, which %p is not", async (key) => {
    for (const [, call] of KEY_CALLS) {
      expect(await refusal(() => call(key))).toMatchObject({
        type: "not_found",
        message: '"idempotencyKeyOrSelector" must be defined',
      });
    }
  });

  test.each([[5], [true], [Symbol("key")], [{}], [["key"]]])(
    "in a header has to be a string, which %p is not",
    async (key) => {
      const error = await refusalThatStoresNothing(() =>
        service.initializeRequest(key, "POST", {}, "/"),
      );
      expect(error.type).toBe("invalid_data");
    },
  );
});

describe("a payload", () => {
  test.each([[undefined], [null], ["text"], [5], [true], [5n], [[]], [() => ({})], [Symbol("x")]])(
    "has to be an object, which %p is not",
    async (payload) => {
      const key = await newKey();
      const expected = { type: "invalid_data", message: expect.stringContaining("object") };
      expect(await refusalThatStoresNothing(() => service.create(payload))).toMatchObject(expected);
      expect(await refusal(() => service.update(key, payload))).toMatchObject(expected);
    },
  );

  test("may be missing, which rejects as well", async () => {
    expect((await refusal(() => service.create())).type).toBe("invalid_data");
    expect((await refusal(() => service.update("key"))).type).toBe("invalid_data");
    expect((await refusal(() => service.workStage("key"))).type).toBe("invalid_argument");
    expect((await refusal(() => service.atomicPhase_())).type).toBe("invalid_argument");
    expect((await refusal(() => service.retrieve())).type).toBe("not_found");
    expect((await refusal(() => service.lock())).type).toBe("not_found");
  });

  test.each([
    ["id"],
    ["idempotency_key"],
    ["created_at"],
    ["locked_at"],
    ["request_method"],
    ["request_params"],
    ["request_path"],
    ["response_code"],
    ["response_body"],
    ["recovery_point"],
  ])("that throws when %s is read rejects with what it throws", async (column) => {
    const thrown = new Error("not readable");
    const payload = Object.defineProperty({}, column, {
      get() {
        throw thrown;
      },
    });
    const key = await newKey();
    expect(await refusalThatStoresNothing(() => service.create(payload))).toBe(thrown);
    expect(await refusal(() => service.update(key, payload))).toBe(thrown);
  });

  test("may be a Proxy", async () => {
    const payload = new Proxy({ request_path: "/proxied" }, {});
    const { idempotency_key: key } = await service.create(payload);
    expect(payload.idempotency_key).toBe(key);
    const updated = await service.update(key, new Proxy({ response_code: 201 }, {}));
    expect(updated).toMatchObject({ request_path: "/proxied", response_code: 201 });
  });

  test("that is a Proxy whose traps throw rejects with what they throw", async () => {
    const thrown = new Error("no entry");
    const fail = () => {
      throw thrown;
    };
    const key = await newKey();
    const unreadable = new Proxy({}, { get: fail });
    expect(await refusalThatStoresNothing(() => service.create(unreadable))).toBe(thrown);
    expect(await refusal(() => service.update(key, unreadable))).toBe(thrown);
    const unwritable = new Proxy({}, { set: fail });
    expect(await refusalThatStoresNothing(() => service.create(unwritable))).toBe(thrown);
  });

  test("that is a revoked Proxy rejects with a TypeError", async () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const key = await newKey();
    expect(await refusal(() => service.create(proxy))).toBeInstanceOf(TypeError);
    expect(await refusal(() => service.update(key, proxy))).toBeInstanceOf(TypeError);
    expect(await refusal(() => service.retrieve(proxy))).toBeInstanceOf(TypeError);
    const revoked = await refusal(() => service.workStage(key, async () => proxy));
    expect(revoked).toBeInstanceOf(TypeError);
  });

  test.each([
    ["is frozen", Object.freeze({ request_path: "/" })],
    ["refuses to be written to", new Proxy({ request_path: "/" }, { set: () => false })],
    ["has no prototype", Object.assign(Object.create(null), { request_path: "/" })],
  ])("that %s is stored with a generated key", async (_, payload) => {
    const { idempotency_key: key } = await service.create(payload);
    expect((await service.retrieve(key)).request_path).toBe("/");
  });
});

describe("options", () => {
  const MODULE = "medusa-idempotency-key: ";
  const refused = (name) => ({
    type: "invalid_argument",
    code: "invalid_option",
    message: expect.stringMatching(new RegExp(`^${MODULE}.*${name}`)),
  });

  const WRONG = {
    mode: ["other", "Medusa", "", 5, null, {}, Symbol("medusa")],
    databaseUrl: [5, null, {}, true, "", "nonsense", "mysql://host/database", "//host/database"],
    schema: [5, null, {}, true, "", Symbol("public")],
    maxConnections: [0, -1, 1.5, 1001, "4", NaN, Infinity, null, true, 4n, {}, [4]],
    lockTimeout: [-1, 1.5, 2 ** 31, "1000", NaN, Infinity, null, true, 4n],
    leaseTimeout: [0, -1, 1.5, 2 ** 31, "1000", NaN, null, {}],
    waitTimeout: [-1, 1.5, 2 ** 31, "1000", NaN, null, {}],
    maxRetries: [-1, 1.5, 101, "3", NaN, Infinity, null, {}],
  };

  test.each(
    Object.entries(WRONG).flatMap(([name, values]) => values.map((value) => [name, value])),
  )("refuse %s to be %p", (name, value) => {
    const error = thrownBy(() => new IdempotencyKeyService({}, { [name]: value }));
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject(refused(name));
  });

  test("refuse a schema with U+0000", () => {
    const error = thrownBy(() => new IdempotencyKeyService({}, { schema: "a\0b" }));
    expect(error).toMatchObject(refused("schema"));
  });

  test.each(Object.keys(WRONG))("refuse %s to be what has no text", (name) => {
    const value = Object.create(null);
    const error = thrownBy(() => new IdempotencyKeyService({}, { [name]: value }));
    expect(error).toMatchObject(refused(name));
  });

  test.each([["databaseURL"], ["timeout"], ["constructor"], ["max_connections"]])(
    "refuse %s, which is none, and name those there are",
    (name) => {
      const error = thrownBy(() => new IdempotencyKeyService({}, { [name]: undefined }));
      expect(error).toMatchObject(refused(`"${name}"`));
      expect(error.message).toContain("lockTimeout");
    },
  );

  test.each([[5], ["postgres://host/database"], [true], [[]], [() => ({})], [Symbol("x")]])(
    "have to be an object, which %p is not",
    (options) => {
      expect(thrownBy(() => new IdempotencyKeyService({}, options))).toMatchObject(
        refused("options"),
      );
    },
  );

  test.each(Object.keys(WRONG))("are not taken in place of the container: %s", (name) => {
    for (const options of [undefined, null]) {
      const error = thrownBy(() => new IdempotencyKeyService({ [name]: "x" }, options));
      expect(error).toMatchObject(refused(name));
      expect(error.message).toContain("new IdempotencyKeyService(container, options)");
    }
  });

  test("that throw when they are read throw that", () => {
    const thrown = new Error("not readable");
    const options = {
      get schema() {
        throw thrown;
      },
    };
    expect(thrownBy(() => new IdempotencyKeyService({}, options))).toBe(thrown);
  });
});

describe("a database URL with a password", () => {
  const URLS = [
    "mysql://user:s3cret@host/database",
    "user:s3cret@host/database",
    "postgres://user:s3cret@[/database",
    "postgres://user:s3cret@host:port/database",
    "postgres://user:s3cret@host:99999/database",
    "postgres://user:s3cret@host/database?sslmode=nonsense",
    "postgres://user@host/database?port=nonsense&password=s3cret",
    "host=localhost user=user password=s3cret",
  ];

  test.each(URLS)("that is none is refused without its password: %s", (databaseUrl) => {
    const error = thrownBy(() => new IdempotencyKeyService({}, { databaseUrl }));
    expect(error).toMatchObject({ type: "invalid_argument", code: "invalid_option" });
    expect(error.message).toContain("databaseUrl");
    expect(error.message).not.toContain("s3cret");
    expect(JSON.stringify(error)).not.toContain("s3cret");
    expect(error.stack).not.toContain("s3cret");
  });

  describe("in DATABASE_URL", () => {
    const { DATABASE_URL } = process.env;

    afterEach(() => {
      if (DATABASE_URL === undefined) {
        delete process.env.DATABASE_URL;
      } else {
        process.env.DATABASE_URL = DATABASE_URL;
      }
    });

    test.each(URLS)("that is none rejects without its password: %s", async (url) => {
      process.env.DATABASE_URL = url;
      const unconfigured = new IdempotencyKeyService();
      for (const call of [
        () => unconfigured.retrieve("key"),
        () => unconfigured.workStage("key", () => ({})),
        () => unconfigured.migrate(),
      ]) {
        const error = await refusal(call);
        expect(error).toBeInstanceOf(Error);
        expect(error.type).toBe("invalid_argument");
        expect(error.message).not.toContain("s3cret");
      }
      await unconfigured.close();
    });

    test("that is missing rejects and says what to give", async () => {
      delete process.env.DATABASE_URL;
      const unconfigured = new IdempotencyKeyService();
      expect(await refusal(() => unconfigured.create({}))).toMatchObject({
        type: "invalid_argument",
        code: "no_database",
        message: expect.stringMatching(/databaseUrl.*DATABASE_URL/),
      });
      await unconfigured.close();
    });
  });

  test("where nobody listens rejects with host and port, but without it", async () => {
    const databaseUrl = "postgres://user:s3cret@127.0.0.1:1/nowhere";
    const error = await refusal(() => database.service({ databaseUrl }).retrieve("key"));
    expect(error.code).toBe("ECONNREFUSED");
    expect(error.message).toContain('127.0.0.1:1, database "nowhere"');
    expect(error.message).not.toContain("s3cret");
  });
});

describe("the name of a schema", () => {
  test.each([
    ["'quoted' \"twice\""],
    ['a"; DROP TABLE public.idempotency_key; --'],
    ["a'); DROP TABLE public.idempotency_key; --"],
    ["$do$; DROP TABLE public.idempotency_key; DO $do$ BEGIN"],
    ["$1 $$ {} 100% %I"],
    ["back\\slash"],
    ["with.dot"],
    ["UPPER lower"],
    ["select"],
    ["漢字 😀"],
  ])("may be any text, and is only ever a name: %s", async (schema) => {
    const before = await count("public.idempotency_key");
    const there = database.service({ schema });
    await there.migrate();
    await there.migrate();

    const created = await there.create({ idempotency_key: "a-key", request_method: "POST" });
    expect(await there.listStalled({ olderThan: 0 })).toEqual([created]);
    const key = await there.initializeRequest("a-key", "POST", {}, "/");
    expect(key).toEqual({ ...created, locked_at: expect.any(Date) });
    expect(await there.retrieve("a-key")).toEqual(key);
    expect(await there.retrieve({ request_method: ["POST"] })).toEqual(key);
    expect((await there.lock("a-key")).locked_at).toBeInstanceOf(Date);
    expect((await there.update("a-key", { request_path: "/x" })).request_path).toBe("/x");
    await there.workStage("a-key", (manager) => {
      const bound = there.withTransaction(manager);
      return bound.update("a-key", { request_path: "/y" }).then(() => ({ response_code: 200 }));
    });
    expect(await there.retrieve("a-key")).toMatchObject({
      request_path: "/y",
      response_code: 200,
      recovery_point: "finished",
    });
    const duplicate = await refusal(() => there.create({ idempotency_key: "a-key" }));
    expect(duplicate).toMatchObject({ code: "23505", table: "idempotency_key", schema });

    const { rows } = await database.pool.query(
      "SELECT table_name FROM information_schema.tables WHERE table_schema = $1",
      [schema],
    );
    expect(rows).toEqual([{ table_name: "idempotency_key" }]);
    const request = { method: "POST", path: "/", body: { told: "by its fingerprint" } };
    await there.runStages(request, { started: () => ({ response_code: 200 }) });
    expect(await there.prune({ olderThan: 0 })).toBe(2);
    expect(await count("public.idempotency_key")).toBe(before);
  });

  test("that does not exist is 42P01", async () => {
    const nowhere = database.service({ schema: "no such schema" });
    expect((await refusal(() => nowhere.create({}))).code).toBe("42P01");
  });
});

describe("the receiver of a call", () => {
  const CALLS = [
    ["create", [{}]],
    ["initializeRequest", ["key", "POST", {}, "/"]],
    ["retrieve", ["key"]],
    ["retrieve", [{ idempotency_key: "key" }]],
    ["lock", ["key"]],
    ["update", ["key", {}]],
    ["workStage", ["key", () => ({})]],
    ["runStages", [{ key: "key" }, { started: () => ({}) }]],
    ["listStalled", [{}]],
    ["prune", [{ olderThan: "72h" }]],
    ["atomicPhase_", [() => 1]],
    ["migrate", []],
    ["close", []],
  ];
  const RECEIVERS = [
    ["nothing, as of a detached method", () => undefined],
    ["null", () => null],
    ["a number", () => 5],
    ["an object", () => ({})],
    ["an object that calls itself bound", () => ({ transactionManager_: {} })],
    ["a heir of a service", () => Object.create(service)],
  ];

  test.each(
    RECEIVERS.flatMap(([what, receiver]) =>
      CALLS.map(([method, parameters]) => [what, method, parameters, receiver]),
    ),
  )("must not be %s: %s(...%j)", async (_, method, parameters, receiver) => {
    const detached = IdempotencyKeyService.prototype[method];
    expect(await refusal(() => detached.call(receiver(), ...parameters))).toMatchObject({
      type: "invalid_argument",
      code: "invalid_receiver",
      message: expect.stringContaining("service.method()"),
    });
  });

  test("is a service only when it was constructed with new", () => {
    expect(() => IdempotencyKeyService({}, {})).toThrow(TypeError);
    expect(() => IdempotencyKeyService.call({}, {}, {})).toThrow(TypeError);
    expect(() => TransactionManager()).toThrow(TypeError);
    expect(thrownBy(() => new TransactionManager())).toMatchObject({ type: "invalid_argument" });
    expect(thrownBy(() => new TransactionManager({}))).toMatchObject({ type: "invalid_argument" });
  });

  test.each([
    ["an object", () => ({})],
    ["an object that looks like one", () => ({ query: async () => [], queryRunner: {} })],
    ["text", () => "manager"],
    ["a service", () => service],
    ["a function", () => () => {}],
    ["a heir of a manager's class", () => Object.create(TransactionManager.prototype)],
  ])("is of no use when it was bound to %s", async (_, manager) => {
    const bound = service.withTransaction(manager());
    const work = jest.fn(() => ({}));
    const calls = [
      () => bound.create({}),
      () => bound.initializeRequest("key", "POST", {}, "/"),
      () => bound.retrieve("key"),
      () => bound.retrieve({ idempotency_key: "key" }),
      () => bound.lock("key"),
      () => bound.update("key", {}),
      () => bound.workStage("key", work),
      () => bound.runStages({ key: "key" }, { started: work }),
      () => bound.atomicPhase_(work),
    ];
    for (const call of calls) {
      expect(await refusalThatStoresNothing(call)).toMatchObject({
        type: "invalid_argument",
        code: "invalid_manager",
        message: expect.stringContaining("withTransaction()"),
      });
    }
    expect(work).not.toHaveBeenCalled();
  });
});

describe("what is large", () => {
  const MEGABYTE = 2 ** 20;

  test("may be a body of 5 MB, in create, in update and in a stage", async () => {
    const body = (letter) => ({ text: letter.repeat(5 * MEGABYTE), list: [1, "é漢😀"] });
    const key = await newKey({ request_params: body("p"), response_body: body("a") });
    // Not compared by Jest, which would print megabytes.
    const isStored = async (letter) => {
      const { text, list } = (await service.retrieve(key)).response_body;
      return text === body(letter).text && list[1] === "é漢😀";
    };
    expect(await isStored("a")).toBe(true);
    await service.update(key, { response_body: body("b") });
    expect(await isStored("b")).toBe(true);
    await service.workStage(key, async (manager) => {
      const [{ length }] = await manager.query("SELECT length($1) AS length", [body("x").text]);
      expect(length).toBe(5 * MEGABYTE);
      return { response_code: 200, response_body: body("c") };
    });
    expect(await isStored("c")).toBe(true);
  });

  test.each([
    ["300 letters", "k".repeat(300)],
    ["300 letters of other scripts", "鍵".repeat(300)],
    ["300 quotes", "'\"".repeat(150)],
  ])("may be a key of %s, though not a client's", async (_, key) => {
    await service.create({ idempotency_key: key });
    expect((await service.lock(key)).idempotency_key).toBe(key);
    await service.workStage(key, () => ({ recovery_point: "halfway" }));
    const likeMedusas = database.service({ mode: "medusa" });
    expect(await likeMedusas.initializeRequest(key, "POST", {}, "/")).toMatchObject({
      idempotency_key: key,
      recovery_point: "halfway",
    });
    const header = () => service.initializeRequest(key, "POST", {}, "/");
    expect((await refusal(header)).code).toBe("invalid_idempotency_key");
    const duplicate = await refusal(() => service.create({ idempotency_key: key }));
    expect(duplicate.detail).toBe(`Key (idempotency_key)=(${key}) already exists.`);
  });

  test("may be a recovery point, a path and a method", async () => {
    const text = "x".repeat(MEGABYTE);
    const key = await newKey({ request_method: text, request_path: text, recovery_point: text });
    const stored = await service.retrieve(key);
    expect(stored.request_method === text).toBe(true);
    expect(stored.request_path === text).toBe(true);
    expect(stored.recovery_point === text).toBe(true);
  });
});
