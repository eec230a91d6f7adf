/** @jest-environment ./__test__/helpers/libraries-environment.js */
"use strict";

// The option `manager`: what transactions are opened through, in every library.

const { IdempotencyKeyService, createIdempotency } = require("..");
const { handleOf } = require("../lib/handles");
const { rejection, useDatabase } = require("./helpers/database");
const { LIBRARIES } = require("./helpers/libraries");

const refused = { type: "invalid_argument", code: "invalid_option" };
const request = { key: "k", method: "POST", path: "/orders" };

const database = useDatabase();

beforeAll(() => database.pool.query("CREATE TABLE effect (name text)"));
beforeEach(() => database.pool.query("TRUNCATE effect, idempotency_key"));

/** The committed effects: read on another connection. */
async function effects() {
  const { rows } = await database.pool.query("SELECT name FROM effect ORDER BY name");
  return rows.map(({ name }) => name);
}

/** Rows of one name have their transaction's COMMIT fail. */
const DEFERRED_CLASH = `
  CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.name = 'clash' THEN
        RAISE EXCEPTION 'clash' USING ERRCODE = '40001';
      END IF;
      RETURN NULL;
    END $$;
  CREATE CONSTRAINT TRIGGER clash AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION clash()`;

describe.each(LIBRARIES)("$title", ({ title, open }) => {
  let library;
  let service;

  beforeAll(async () => {
    library = database.closed(await open(database.url));
    service = database.service({ manager: library.root });
  });

  const ask = (handle, sql) => handleOf(handle).library.query(handle, sql, []);

  /** Runs a request of two stages, of which each writes in the handle that it gets. */
  const run = (ending = () => {}) =>
    service.runStages(request, {
      started: async (handle) => {
        await library.insert(handle, "started");
        return { recovery_point: "half" };
      },
      half: async (handle) => {
        await library.insert(handle, "half");
        expect(await effects()).toEqual(["started"]);
        ending();
        return { response_code: 201, response_body: { done: true } };
      },
    });

  test("stages run in transactions of the library's", async () => {
    expect(await run()).toMatchObject({ response_code: 201, replayed: false });
    expect(await effects()).toEqual(["half", "started"]);
    expect(await run()).toMatchObject({ response_body: { done: true }, replayed: true });
    expect(await effects()).toEqual(["half", "started"]);
  });

  test("a stage that fails is rolled back, and done again by a retry", async () => {
    const failure = new Error("no");
    const failing = run(() => {
      throw failure;
    });
    expect(await rejection(failing)).toBe(failure);
    expect(await effects()).toEqual(["started"]);
    expect(await run()).toMatchObject({ response_code: 201, replayed: false });
    expect(await effects()).toEqual(["half", "started"]);
  });

  test.each([["undefined"], ["null"], ["text", "no"], ["an Error", new Error("no")]])(
    "what a callback fails with is rejected as it is: %s",
    async (name, thrown = name === "null" ? null : undefined) => {
      await service.create({ idempotency_key: "k" });
      const callback = async (handle) => {
        await library.insert(handle, "undone");
        throw thrown;
      };
      expect(await rejection(service.workStage("k", callback))).toBe(thrown);
      expect(await rejection(service.atomicPhase_(callback))).toBe(thrown);
      expect(await effects()).toEqual([]);
      expect((await service.retrieve("k")).recovery_point).toBe("started");
    },
  );

  test("a statement of the callback's that has failed leaves nothing, though the callback goes on", async () => {
    await service.create({ idempotency_key: "k" });
    const callback = async (handle) => {
      await library.insert(handle, "undone");
      await rejection(library.fail(handle));
      return { response_code: 200 };
    };
    await rejection(service.workStage("k", callback));
    await rejection(service.atomicPhase_(callback));
    expect(await effects()).toEqual([]);
    expect((await service.retrieve("k")).recovery_point).toBe("started");
  });

  test.each(["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"])(
    "a phase has the isolation level %s",
    async (isolation) => {
      const level = (handle) =>
        ask(handle, "SELECT current_setting('transaction_isolation') AS is");
      expect(await service.atomicPhase_(level, isolation)).toEqual([
        { is: isolation.toLowerCase() },
      ]);
    },
  );

  test("a phase is repeated once after a serialization failure", async () => {
    let runs = 0;
    const phase = async (handle) => {
      runs += 1;
      await ask(handle, "SELECT count(*) FROM effect");
      if (runs === 1) {
        await database.pool.query("INSERT INTO effect VALUES ('before')");
        await database.pool.query("UPDATE effect SET name = 'theirs'");
      }
      await library.insert(handle, `run ${runs}`);
      if (runs === 1) {
        await ask(handle, "DO $$ BEGIN RAISE EXCEPTION 'clash' USING ERRCODE = '40001'; END $$");
      }
      return "done";
    };
    expect(await service.atomicPhase_(phase, "REPEATABLE READ")).toBe("done");
    expect(await effects()).toEqual(["run 2", "theirs"]);
  });

  /** Stages of which the first so many runs fail with a serialization failure, at their end or at COMMIT. */
  function clashing(times, fail) {
    const stages = {
      runs: 0,
      async started(handle) {
        stages.runs += 1;
        const clashes = stages.runs <= times;
        await library.insert(handle, clashes ? "clash" : "work");
        if (clashes) {
          await fail?.(handle);
        }
        return { response_code: 201 };
      },
    };
    return stages;
  }

  const failWith = (code) => (handle) =>
    ask(handle, `DO $$ BEGIN RAISE EXCEPTION 'clash' USING ERRCODE = '${code}'; END $$`);

  test.each(["40001", "40P01"])("a stage is repeated that has failed with %s", async (code) => {
    const first = clashing(2, failWith(code));
    const begun = await service.runStages(request, { started: first.started });
    expect(begun).toMatchObject({ response_code: 201, replayed: false });
    expect(await effects()).toEqual(["work"]);
    await service.create({ idempotency_key: "alone" });
    const alone = clashing(2, failWith(code));
    await service.workStage("alone", alone.started);
    expect(await effects()).toEqual(["work", "work"]);
    expect([first.runs, alone.runs]).toEqual([3, 3]);
  });

  // Prisma 6 never returns a connection to its pool whose COMMIT has failed: the pool would not end.
  (title === "Prisma 6" ? test.skip : test)(
    "a stage is repeated whose COMMIT has failed so",
    async () => {
      await database.pool.query(DEFERRED_CLASH);
      try {
        const { started } = clashing(1);
        expect(await service.runStages(request, { started })).toMatchObject({ response_code: 201 });
        expect(await effects()).toEqual(["work"]);
      } finally {
        await database.pool.query("DROP FUNCTION clash CASCADE");
      }
    },
  );

  test("a stage is repeated as often as `maxRetries` says", async () => {
    for (const [maxRetries, runs] of [
      [0, 1],
      [1, 2],
    ]) {
      const stages = clashing(Infinity, failWith("40001"));
      const limited = database.service({ manager: library.root, maxRetries });
      const failing = limited.runStages(request, { started: stages.started });
      const error = await rejection(failing);
      expect(limited.shouldRetryTransaction_(error)).toBe(true);
      expect(stages.runs).toBe(runs);
    }
    expect(await effects()).toEqual([]);
    // Released: a retry goes on at once.
    const { started } = clashing(0);
    expect(await service.runStages(request, { started })).toMatchObject({ replayed: false });
  });

  test("a service that is bound to the root works as one that has it as its manager", async () => {
    const unbound = database.service();
    const bound = unbound.withTransaction(library.root);
    await bound.create({ idempotency_key: "k" });
    const key = await bound.workStage("k", async (handle) => {
      await library.insert(handle, "stage");
      return { response_code: 200 };
    });
    expect(key).toMatchObject({ recovery_point: "finished" });
    expect(await effects()).toEqual(["stage"]);
  });

  test("the handle of a transaction is refused", async () => {
    const isEntityManager =
      typeof library.root.transactional === "function" || library.root["@instanceof"];
    await library.begin(async (handle) => {
      const construct = () => createIdempotency({ manager: handle });
      if (isEntityManager) {
        // Through one of a transaction others can be opened.
        expect(construct()).toBeInstanceOf(IdempotencyKeyService);
      } else {
        expect(construct).toThrow(expect.objectContaining(refused));
        expect(construct).toThrow(/withTransaction\(\)/);
      }
    });
  });

  test("what is no root is refused by name", () => {
    for (const [word, value] of library.mistakes) {
      expect(() => createIdempotency({ manager: value })).toThrow(expect.objectContaining(refused));
      expect(() => createIdempotency({ manager: value })).toThrow(word);
    }
  });
});

test.each([null, 5, "manager", {}, [], () => {}])("%p is no manager", (manager) => {
  const construct = () => createIdempotency({ manager });
  expect(construct).toThrow(expect.objectContaining(refused));
});

test("a container's manager stays where there is none among the options", () => {
  const container = { manager: database.pool };
  class Shown extends IdempotencyKeyService {
    get shown() {
      return this.activeManager_;
    }
  }
  expect(new Shown(container, {}).shown).toBe(database.pool);
  expect(new Shown({ manager: {} }, { manager: database.pool }).shown).toBe(database.pool);
});
