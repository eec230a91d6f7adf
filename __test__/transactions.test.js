/** @jest-environment ./__test__/helpers/libraries-environment.js */
"use strict";

// What holds in the transactions of every library: the same for each, with the newest versions.

const { handleOf } = require("../lib/handles");
const { rejection, useDatabase } = require("./helpers/database");
const { LIBRARIES } = require("./helpers/libraries");

const MEGABYTE = 2 ** 20;
const notFound = { type: "not_found" };
const refused = { type: "invalid_argument", code: "invalid_manager" };

const database = useDatabase();

beforeAll(() => database.pool.query("CREATE TABLE effect (name text)"));
beforeEach(() => database.pool.query("TRUNCATE effect, idempotency_key"));

/** The committed effects: read on another connection. */
async function effects() {
  const { rows } = await database.pool.query("SELECT name FROM effect ORDER BY name");
  return rows.map(({ name }) => name);
}

describe.each(LIBRARIES)("$title", ({ open }) => {
  let library;
  let service;

  beforeAll(async () => {
    library = database.closed(await open(database.url));
    service = database.service();
  });

  /** Runs work with a service that is bound to a transaction, and with its handle. */
  const inTransaction = (work) =>
    library.begin((handle) => work(service.withTransaction(handle), handle));

  /** Every method that works on keys, once; resolves to the keys. */
  async function everything(bound, handle) {
    const request = { request_method: "POST", request_params: { a: [1, "?"] }, request_path: "/a" };
    const created = await bound.create({ ...request, idempotency_key: "created" });
    expect(created).toMatchObject({ ...request, idempotency_key: "created", locked_at: null });
    expect(created.created_at.getTime()).toBeGreaterThan(0);
    expect(await bound.retrieve("created")).toEqual(created);
    expect(await bound.retrieve({ request_params: { a: [1, "?"] } })).toEqual(created);
    expect((await bound.lock("created")).locked_at.getTime()).toBeGreaterThan(0);
    const updated = await bound.update("created", { recovery_point: "paid" });
    expect(updated.recovery_point).toBe("paid");
    const begun = await bound.initializeRequest("begun", "POST", {}, "/begun");
    const body = { done: true };
    const worked = await bound.workStage(begun, async (given) => {
      expect(given).toBe(handle);
      await library.insert(given, "stage");
      return { response_code: 201, response_body: body };
    });
    expect(worked).toMatchObject({ recovery_point: "finished", response_code: 201 });
    expect(worked.response_body).toBe(body);
    const staged = await bound.runStages(
      { key: "staged", method: "POST", path: "/staged" },
      {
        started: async (given) => {
          expect(given).toBe(handle);
          await library.insert(given, "started");
          return { recovery_point: "half" };
        },
        half: () => ({ response_code: 200, response_body: body }),
      },
    );
    expect(staged).toMatchObject({ response_code: 200, response_body: body, replayed: false });
    return ["created", "begun", "staged"];
  }

  describe("bound", () => {
    test("every operation is committed with it", async () => {
      const keys = await inTransaction(async (bound, handle) => {
        const made = await everything(bound, handle);
        for (const key of made) {
          expect(await rejection(service.retrieve(key))).toMatchObject(notFound);
        }
        expect(await effects()).toEqual([]);
        return made;
      });
      for (const key of keys) {
        expect((await service.retrieve(key)).idempotency_key).toBe(key);
      }
      expect(await effects()).toEqual(["stage", "started"]);
    });

    test("every operation is rolled back with it", async () => {
      const failure = new Error("undo");
      let made;
      const transaction = inTransaction(async (bound, handle) => {
        made = await everything(bound, handle);
        throw failure;
      });
      expect(await rejection(transaction)).toBe(failure);
      for (const key of made) {
        expect(await rejection(service.retrieve(key))).toMatchObject(notFound);
      }
      expect(await effects()).toEqual([]);
    });

    test("null, quotes, zero and a megabyte come back as they were", async () => {
      const values = [
        null,
        0,
        "",
        "$1 ? '' \\ \" é 𝒳",
        "x".repeat(MEGABYTE),
        [[]],
        { "?": { $2: null } },
      ];
      await inTransaction(async (bound) => {
        await bound.create({ idempotency_key: "values ? $1", request_params: values });
        await bound.workStage("values ? $1", () => ({ response_code: 200, response_body: values }));
        const cleared = await bound.update("values ? $1", { request_method: null });
        expect(cleared.request_method).toBeNull();
      });
      const stored = await service.retrieve("values ? $1");
      expect(stored.request_params).toEqual(values);
      expect(stored.response_body).toEqual(values);
    });

    test("a nested one is undone alone, whichever is used first", async () => {
      if (!library.nested) {
        return;
      }
      const failure = new Error("inner");
      await library.begin(async (handle) => {
        const bound = service.withTransaction(handle);
        const inner = library.nested(handle, async (nested) => {
          await service.withTransaction(nested).create({ idempotency_key: "inner" });
          if (nested === handle) {
            await bound.create({ idempotency_key: "inner too" });
          }
          throw failure;
        });
        expect(await rejection(inner)).toBe(failure);
        await bound.create({ idempotency_key: "outer" });
        await library.nested(handle, async (nested) => {
          await service.withTransaction(nested).workStage("outer", () => ({ response_code: 200 }));
        });
      });
      const { rows } = await database.pool.query(
        "SELECT idempotency_key, recovery_point FROM idempotency_key",
      );
      expect(rows).toEqual([{ idempotency_key: "outer", recovery_point: "finished" }]);
    });

    test("calls that are made at once are all answered", async () => {
      const names = Array.from({ length: 20 }, (_each, index) => `key-${index}`);
      await inTransaction(async (bound) => {
        const created = await Promise.all(
          names.map((idempotency_key) => bound.create({ idempotency_key })),
        );
        expect(created.map((key) => key.idempotency_key)).toEqual(names);
      });
      expect((await service.retrieve("key-19")).recovery_point).toBe("started");
    });
  });

  describe("statements", () => {
    /** Runs a statement as the engine's are run. */
    const asked = (sql, parameters) =>
      library.begin((handle) => handleOf(handle).library.query(handle, sql, parameters));

    test("a parameter may come twice, and there may be more than nine", async () => {
      const numbers = Array.from({ length: 12 }, (_each, index) => `p${index + 1}`);
      const sum = numbers
        .map((_each, index) => `$${index + 1}::text`)
        .reverse()
        .join(" || ");
      const rows = await asked(`SELECT ${sum} || $2::text || $12 AS text`, numbers);
      expect(rows).toEqual([{ text: [...numbers].reverse().join("") + "p2p12" }]);
    });

    test("question marks and dollars in literals and operators stay what they are", async () => {
      const sql = `SELECT '?' || ' $1 ' || ':a' || $1::text AS text, '{"a": 1}'::jsonb ? $2::text AS has,
        '{"b": 1}'::jsonb ?| ARRAY[$2::text] AS any, "?".x AS "x?" FROM (SELECT '$2' AS x) "?" -- ? $3`;
      const [row] = await asked(sql, ["?$2", "a"]);
      expect(row).toEqual({ text: "? $1 :a?$2", has: true, any: false, "x?": "$2" });
    });

    test("null, and texts that are cast, arrive as they are", async () => {
      const time = "2026-01-02 03:04:05.123456+00";
      const json = '{"a": "\\"?"}';
      const sql = `SELECT $1::text IS NULL AS none, to_char(CAST(CAST($2 AS text) AS timestamptz)
        AT TIME ZONE 'UTC', 'US') AS micros, CAST(CAST($3 AS text) AS jsonb) ->> 'a' AS a,
        CAST(CAST($4 AS text) AS int) + 1 AS next, length($5::text) AS length`;
      const rows = await asked(sql, [null, time, json, "41", "é".repeat(MEGABYTE)]);
      expect(rows).toEqual([{ none: true, micros: "123456", a: '"?', next: 42, length: MEGABYTE }]);
    });
  });

  describe("errors", () => {
    test("a key that exists is refused as everywhere", async () => {
      await service.create({ idempotency_key: "twice" });
      const twice = inTransaction((bound) => bound.create({ idempotency_key: "twice" }));
      expect(await rejection(twice)).toMatchObject({ code: "23505", status: 422 });
    });

    test("a value that the table refuses is in no property of the error", async () => {
      await database.pool.query(
        "ALTER TABLE idempotency_key ADD CONSTRAINT small CHECK (response_code < 600)",
      );
      try {
        const secret = "card 4242";
        const large = inTransaction((bound) =>
          bound.create({ request_params: { secret }, response_code: 601 }),
        );
        const error = await rejection(large);
        expect(error).toMatchObject({ code: "23514" });
        const shown = Object.getOwnPropertyNames(error).map((name) => String(error[name]));
        expect(shown.join("\n") + JSON.stringify(error)).not.toContain(secret);
      } finally {
        await database.pool.query("ALTER TABLE idempotency_key DROP CONSTRAINT small");
      }
    });

    test("what a callback fails with is rejected as it is", async () => {
      await service.create({ idempotency_key: "k" });
      let thrown;
      const transaction = inTransaction((bound, handle) =>
        bound.workStage("k", async () => {
          try {
            await library.fail(handle);
          } catch (error) {
            thrown = error;
            throw error;
          }
        }),
      );
      expect(await rejection(transaction)).toBe(thrown);
      expect(service.shouldRetryTransaction_(thrown)).toBe(false);
      expect((await service.retrieve("k")).recovery_point).toBe("started");
    });

    test("a serialization failure is known by its SQLSTATE", async () => {
      await service.create({ idempotency_key: "k" });
      const transaction = library.begin(async (handle) => {
        const asked = (sql) => handleOf(handle).library.query(handle, sql, []);
        await asked("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
        await asked("SELECT 1 FROM idempotency_key");
        await service.update("k", { response_code: 201 });
        return service.withTransaction(handle).update("k", { response_code: 202 });
      });
      const error = await rejection(transaction);
      expect(error).toMatchObject({ code: "40001", status: 409 });
      expect(service.shouldRetryTransaction_(error)).toBe(true);
    });

    test("an attempt whose request another one has taken over is refused", async () => {
      const first = await service.initializeRequest("k", "POST", {}, "/");
      // As another process would.
      await database.pool.query("UPDATE idempotency_key SET locked_at = now()");
      const stage = library.begin((handle) =>
        service.withTransaction(handle).workStage(first, () => library.insert(handle, "late")),
      );
      expect(await rejection(stage)).toMatchObject({ type: "conflict", code: "lease_lost" });
      expect(await effects()).toEqual([]);
    });

    test("what is no handle is refused by name", async () => {
      for (const [word, value] of library.mistakes) {
        const error = await rejection(service.withTransaction(value).create({}));
        expect(error).toMatchObject(refused);
        expect(error.message).toContain(word);
      }
    });
  });
});
