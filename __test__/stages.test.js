"use strict";

const { AsyncLocalStorage } = require("node:async_hooks");
const { TransactionManager } = require("..");
const { rejection, useDatabase } = require("./helpers/database");
const { eventually, signal } = require("./helpers/flows");

const database = useDatabase();
let service;

beforeAll(async () => {
  service = database.service();
  await database.pool.query("CREATE TABLE effect (id serial, name text UNIQUE)");
});

beforeEach(() => database.pool.query("TRUNCATE effect"));

async function newKey(columns = {}) {
  return (await service.create(columns)).idempotency_key;
}

async function effects() {
  const { rows } = await database.pool.query("SELECT name FROM effect ORDER BY id");
  return rows.map(({ name }) => name);
}

const insert = (manager, name) => manager.query("INSERT INTO effect (name) VALUES ($1)", [name]);

describe("workStage", () => {
  test("hands a TransactionManager to the callback and commits what it did", async () => {
    const key = await newKey();
    const result = await service.workStage(key, async (manager) => {
      expect(manager).toBeInstanceOf(TransactionManager);
      expect(manager.queryRunner.isTransactionActive).toBe(true);
      await insert(manager, "tax");
      expect(await effects()).toEqual([]);
      return { recovery_point: "tax_lines_created", response_code: 500, response_body: "no" };
    });
    expect(result).toMatchObject({
      idempotency_key: key,
      recovery_point: "tax_lines_created",
      response_code: null,
      response_body: null,
    });
    expect(await effects()).toEqual(["tax"]);
  });

  test.each([[undefined], [null], [""]])(
    "finishes the key when the recovery point is %p",
    async (recovery_point) => {
      const key = await newKey();
      const response_body = { order: { id: "order_1" } };
      const finished = await service.workStage(key, () => ({
        recovery_point,
        response_code: 201,
        response_body,
      }));
      expect(finished).toMatchObject({ recovery_point: "finished", response_code: 201 });
      expect(finished.response_body).toBe(response_body);
      expect(await service.retrieve(key)).toEqual(finished);
    },
  );

  test("stores null for an answer that is not given", async () => {
    const key = await newKey({ response_code: 500, response_body: { old: true } });
    expect(await service.workStage(key, () => ({}))).toMatchObject({
      recovery_point: "finished",
      response_code: null,
      response_body: null,
    });
    expect(await service.retrieve(key)).toMatchObject({ response_code: null, response_body: null });
  });

  test("does not run a finished key again, but answers it as it is", async () => {
    const key = await newKey({ recovery_point: "finished", response_body: { order: 1 } });
    const callback = jest.fn();
    expect(await service.workStage(key, callback)).toEqual(await service.retrieve(key));
    expect(callback).not.toHaveBeenCalled();
  });

  test("does not run a stage that the key has left behind, but answers where it stands", async () => {
    const key = await service.create({});
    await service.workStage(key, () => ({ recovery_point: "a" }));
    const callback = jest.fn();
    expect(await service.workStage(key, callback)).toMatchObject({ recovery_point: "a" });
    expect(callback).not.toHaveBeenCalled();
  });

  test.each([
    ["an Error", new RangeError("no")],
    ["text", "no"],
    ["undefined", undefined],
    ["null", null],
    ["an object", { reason: 1 }],
    ["a frozen object", Object.freeze({ code: 5 })],
    ["a symbol", Symbol("no")],
  ])("rejects with the very value that the callback fails with: %s", async (_, thrown) => {
    const key = await newKey();
    const failing = [
      async (manager) => {
        await insert(manager, "undone");
        throw thrown;
      },
      () => {
        throw thrown;
      },
      () => Promise.reject(thrown),
    ];
    for (const callback of failing) {
      expect(await rejection(service.workStage(key, callback))).toBe(thrown);
    }
    expect(await effects()).toEqual([]);
    expect((await service.retrieve(key)).recovery_point).toBe("started");
  });

  test("adopts thenables that are no promises", async () => {
    const key = await newKey();
    const thenable = { then: (resolve) => resolve({ response_code: 204 }) };
    expect((await service.workStage(key, () => thenable)).response_code).toBe(204);
  });

  test("rejects with the error of a statement, which rolls back", async () => {
    const key = await newKey();
    const stage = service.workStage(key, async (manager) => {
      await insert(manager, "same");
      await insert(manager, "same");
      return {};
    });
    expect(await rejection(stage)).toMatchObject({
      name: "QueryFailedError",
      code: "23505",
      table: "effect",
      constraint: "effect_name_key",
    });
    expect(await effects()).toEqual([]);
  });

  test("does not commit when the callback swallows the error that aborted the transaction", async () => {
    const key = await newKey();
    const stage = service.workStage(key, async (manager) => {
      await insert(manager, "lost");
      await manager.query("SELECT 1/0").catch(() => {});
      return {};
    });
    expect((await rejection(stage)).code).toBe("25P02");
    expect(await effects()).toEqual([]);
  });

  test("refuses an unknown key before it does any work", async () => {
    const callback = jest.fn();
    expect((await rejection(service.workStage("nowhere", callback))).type).toBe("not_found");
    expect(callback).not.toHaveBeenCalled();
  });

  describe.each([
    ["in a session of its own", () => service],
    ["behind a pooler", () => database.service({ databaseUrl: `${database.url}?pgbouncer=true` })],
  ])("%s", (_kind, ofKind) => {
    test("refuses a stage that has deleted its own key, and commits nothing of it", async () => {
      const key = await newKey();
      const stage = ofKind().workStage(key, async (manager) => {
        await insert(manager, "lost");
        await manager.query("DELETE FROM idempotency_key WHERE idempotency_key = $1", [key]);
        return { recovery_point: "deleted" };
      });
      const message = expect.stringContaining(key);
      expect(await rejection(stage)).toMatchObject({ type: "not_found", message });
      expect(await effects()).toEqual([]);
      expect(await service.retrieve(key)).toMatchObject({ recovery_point: "started" });
    });

    test.each([
      ["swallows it", "TRIGGER x BEFORE UPDATE ON idempotency_key", "RETURN NULL", "not_found"],
      ["divides by zero", "TRIGGER x BEFORE UPDATE ON idempotency_key", "PERFORM 1 / 0", "22012"],
      [
        "divides by zero at the COMMIT",
        "CONSTRAINT TRIGGER x AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED",
        "PERFORM 1 / 0",
        "22012",
      ],
    ])(
      "commits nothing of a stage if a trigger of its result %s",
      async (_, trigger, does, told) => {
        const key = await newKey();
        await database.pool.query(`
        CREATE FUNCTION x() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ${does}; RETURN NEW; END';
        CREATE ${trigger} FOR EACH ROW EXECUTE FUNCTION x()`);
        try {
          const stage = ofKind().workStage(key, async (manager) => {
            await insert(manager, "undone");
            return { recovery_point: "undone" };
          });
          const { type, code } = await rejection(stage);
          expect(code ?? type).toBe(told);
          expect(await effects()).toEqual([]);
        } finally {
          await database.pool.query("DROP FUNCTION x CASCADE");
        }
        expect(await service.retrieve(key)).toMatchObject({ recovery_point: "started" });
      },
    );
  });

  test("refuses a stage of a key while another one of it runs", async () => {
    const key = await newKey();
    const begun = signal();
    const end = signal();
    const running = service.workStage(key, async () => {
      begun.send();
      await end.sent;
      return { response_code: 200 };
    });
    await begun.sent;
    const callback = jest.fn();
    expect(await rejection(service.workStage(key, callback))).toMatchObject({
      type: "conflict",
      code: "idempotency_key_in_use",
    });
    end.send();
    expect((await running).response_code).toBe(200);
    expect((await service.workStage(key, callback)).response_code).toBe(200);
    expect(callback).not.toHaveBeenCalled();
  });

  test("gives the key back when it fails, so that another flow can try at once", async () => {
    const key = await service.initializeRequest("", "POST", {}, "/");
    await rejection(service.workStage(key, () => Promise.reject(new Error("no"))));
    const again = await service.initializeRequest(key.idempotency_key, "POST", {}, "/");
    expect((await service.workStage(again, () => ({}))).recovery_point).toBe("finished");
  });

  test("of a flow that another has passed by does not run", async () => {
    const quick = database.service({ leaseTimeout: 1, waitTimeout: 10_000 });
    const slow = await quick.initializeRequest("", "POST", {}, "/");
    const retry = await quick.initializeRequest(slow.idempotency_key, "POST", {}, "/");
    await quick.workStage(retry, () => ({ recovery_point: "a" }));
    // While the other's lease holds, the answer is that it was lost.
    await eventually(async () => (await quick.listStalled({ olderThan: 1 })).length > 0);
    const callback = jest.fn();
    expect((await quick.workStage(slow, callback)).recovery_point).toBe("a");
    expect(callback).not.toHaveBeenCalled();
  });

  test("keeps the caller's AsyncLocalStorage context inside the callback", async () => {
    const storage = new AsyncLocalStorage();
    const key = await newKey();
    const seen = await storage.run("request 1", async () => {
      let inside;
      await service.workStage(key, async (manager) => {
        await manager.query("SELECT 1");
        inside = storage.getStore();
        return {};
      });
      return [inside, storage.getStore()];
    });
    expect(seen).toEqual(["request 1", "request 1"]);
  });

  test("lets a call outside of the transaction stand when the stage fails", async () => {
    const key = await newKey();
    let other;
    const stage = service.workStage(key, async () => {
      other = await service.create({ request_path: "/other" });
      throw new Error("no");
    });
    await rejection(stage);
    expect((await service.retrieve(other.idempotency_key)).request_path).toBe("/other");
  });

  test("tells a callback that waits for itself instead of hanging", async () => {
    const url = `${database.url}?options=-c%20lock_timeout%3D200`;
    const impatient = database.service({ databaseUrl: url });
    const key = await newKey();
    const stage = impatient.workStage(key, async () => {
      await impatient.update(key, { response_code: 200 });
      return {};
    });
    expect(await rejection(stage)).toMatchObject({
      type: "conflict",
      code: "55P03",
      message: expect.stringMatching(new RegExp(`${key} is in use.*withTransaction`)),
    });
  });
});

describe('workStage in mode "medusa"', () => {
  let likeMedusas;

  beforeAll(() => {
    likeMedusas = database.service({ mode: "medusa" });
  });

  test("runs a finished key again, as Medusa does", async () => {
    const key = await newKey({ recovery_point: "finished" });
    const again = await likeMedusas.workStage(key, () => ({ response_code: 202 }));
    expect(again.response_code).toBe(202);
  });

  test("waits for another stage of the same key", async () => {
    const key = await newKey();
    const order = [];
    const first = signal();
    const inside = signal();
    const running = likeMedusas.workStage(key, async () => {
      order.push("first begins");
      inside.send();
      await first.sent;
      order.push("first ends");
      return { recovery_point: "a" };
    });
    await inside.sent;
    const waiting = likeMedusas.workStage(key, () => {
      order.push("second");
      return { recovery_point: "b" };
    });
    await database.untilBlocked();
    first.send();
    await Promise.all([running, waiting]);
    expect(order).toEqual(["first begins", "first ends", "second"]);
  });
});

describe("repetition", () => {
  const failing = (times, code) => {
    const callback = jest.fn(async (manager) => {
      await insert(manager, `try ${callback.mock.calls.length}`);
      if (callback.mock.calls.length <= times) {
        throw Object.assign(new Error("again"), { code });
      }
      return {};
    });
    return callback;
  };

  test.each(["40001", "40P01"])("repeats a stage that failed with %s", async (code) => {
    const callback = failing(2, code);
    await service.workStage(await newKey(), callback);
    expect(callback).toHaveBeenCalledTimes(3);
    expect(await effects()).toEqual(["try 3"]);
  });

  test("gives up after maxRetries, with the last error", async () => {
    const callback = failing(Infinity, "40001");
    const stage = database.service({ maxRetries: 2 }).workStage(await newKey(), callback);
    expect((await rejection(stage)).code).toBe("40001");
    expect(callback).toHaveBeenCalledTimes(3);
  });

  test("is switched off by maxRetries 0", async () => {
    const callback = failing(1, "40001");
    const stage = database.service({ maxRetries: 0 }).workStage(await newKey(), callback);
    expect((await rejection(stage)).code).toBe("40001");
    expect(callback).toHaveBeenCalledTimes(1);
  });

  test("leaves other failures alone", async () => {
    const callback = failing(1, "23505");
    expect((await rejection(service.workStage(await newKey(), callback))).code).toBe("23505");
    expect(callback).toHaveBeenCalledTimes(1);
  });

  test("resolves a real deadlock", async () => {
    await database.pool.query("INSERT INTO effect (name) VALUES ('a'), ('b')");
    const touch = (manager, name) =>
      manager.query("UPDATE effect SET name = name WHERE name = $1", [name]);
    const both = [signal(), signal()];
    const run = async (mine, own, other) =>
      service.workStage(await newKey(), async (manager) => {
        await touch(manager, own);
        both[mine].send();
        await both[1 - mine].sent;
        await touch(manager, other);
        return {};
      });
    const results = await Promise.all([run(0, "a", "b"), run(1, "b", "a")]);
    expect(results.map((key) => key.recovery_point)).toEqual(["finished", "finished"]);
  });
});

describe("the end of a stage", () => {
  test("refuses every later use of its manager", async () => {
    let kept;
    await service.workStage(await newKey(), (manager) => {
      kept = manager;
      return {};
    });
    const key = await newKey();
    const uses = [
      kept.query("SELECT 1"),
      kept.transaction(async () => {}),
      kept.queryRunner.rollbackTransaction(),
      service.withTransaction(kept).create({}),
      service.withTransaction(kept).workStage(key, () => ({})),
    ];
    for (const error of await Promise.all(uses.map(rejection))) {
      expect(error).toMatchObject({ type: "unexpected_state", code: "transaction_ended" });
    }
    expect(kept.queryRunner.isTransactionActive).toBe(false);
  });

  test("awaits the calls under way before it commits", async () => {
    let pending;
    await service.workStage(await newKey(), (manager) => {
      pending = [
        manager.query("SELECT pg_sleep(0.1)"),
        insert(manager, "under way"),
        manager.transaction((nested) => insert(nested, "nested")),
        service.withTransaction(manager).create({ idempotency_key: "under way" }),
      ];
      return {};
    });
    expect(await effects()).toEqual(["under way", "nested"]);
    expect((await service.retrieve("under way")).recovery_point).toBe("started");
    await Promise.all(pending);
  });

  test("runs statements in the order in which they were asked for", async () => {
    const names = Array.from({ length: 50 }, (_, index) => `n${index}`);
    await service.workStage(await newKey(), async (manager) => {
      await Promise.all(names.map((name) => insert(manager, name)));
      return {};
    });
    expect(await effects()).toEqual(names);
  });

  test("rejects when the callback has rolled back", async () => {
    const key = await newKey();
    const stage = service.workStage(key, async (manager) => {
      await insert(manager, "undone");
      await manager.queryRunner.rollbackTransaction();
      expect(manager.queryRunner.isTransactionActive).toBe(false);
      expect((await rejection(manager.query("SELECT 1"))).code).toBe("transaction_ended");
      return {};
    });
    expect((await rejection(stage)).type).toBe("unexpected_state");
    expect(await effects()).toEqual([]);
  });
});

describe("manager.transaction", () => {
  test("undoes its own part when its work fails, and no more", async () => {
    const failure = new Error("nested");
    await service.workStage(await newKey(), async (manager) => {
      await insert(manager, "kept");
      const nested = manager.transaction(async (inner) => {
        await insert(inner, "undone");
        await rejection(inner.query("SELECT 1/0"));
        throw failure;
      });
      expect(await rejection(nested)).toBe(failure);
      const result = await manager.transaction("SERIALIZABLE", async (inner) => {
        await inner.transaction((deeper) => insert(deeper, "deeper"));
        await insert(inner, "nested");
        return "result";
      });
      expect(result).toBe("result");
      return {};
    });
    expect(await effects()).toEqual(["kept", "deeper", "nested"]);
  });

  test("ends with its work", async () => {
    await service.workStage(await newKey(), async (manager) => {
      let kept;
      await manager.transaction((inner) => (kept = inner) && undefined);
      expect((await rejection(kept.query("SELECT 1"))).code).toBe("transaction_ended");
      expect(kept.queryRunner.isTransactionActive).toBe(false);
      expect(manager.queryRunner.isTransactionActive).toBe(true);
      return {};
    });
  });

  test("can be rolled back alone", async () => {
    await service.workStage(await newKey(), async (manager) => {
      await insert(manager, "kept");
      const nested = manager.transaction(async (inner) => {
        await insert(inner, "undone");
        await inner.queryRunner.rollbackTransaction();
      });
      expect((await rejection(nested)).type).toBe("unexpected_state");
      await insert(manager, "later");
      return {};
    });
    expect(await effects()).toEqual(["kept", "later"]);
  });

  test("rolls everything back when two of them overlap", async () => {
    const [first, second] = [signal(), signal()];
    const stage = service.workStage(await newKey(), async (manager) => {
      const outer = manager.transaction(async (inner) => {
        await insert(inner, "a");
        first.send();
        await second.sent;
      });
      const both = [
        outer,
        manager.transaction(async (inner) => {
          await first.sent;
          await insert(inner, "b");
          second.send();
          await Promise.allSettled([outer]);
        }),
      ];
      await Promise.allSettled(both);
      await both[0];
      return {};
    });
    expect((await rejection(stage)).code).toBe("overlapping_savepoints");
    expect(await effects()).toEqual([]);
  });

  test("is undone when a statement in it has failed, even if its work says nothing of it", async () => {
    await service.atomicPhase_(async (manager) => {
      const nested = manager.transaction(async (inner) => {
        await insert(inner, "undone");
        await rejection(inner.query("SELECT 1/0"));
      });
      expect((await rejection(nested)).code).toBe("25P02");
      await insert(manager, "later");
    });
    expect(await effects()).toEqual(["later"]);
  });

  test("hangs nobody when two of them overlap and nobody waits for them", async () => {
    let nested;
    const phase = service.atomicPhase_(async (manager) => {
      const names = ["a", "b"];
      nested = Promise.allSettled(
        names.map((name) => manager.transaction((inner) => insert(inner, name))),
      );
    });
    expect((await rejection(phase)).code).toBe("transaction_ended");
    expect((await nested).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(await effects()).toEqual([]);
  });

  test.each([["nonsense", async () => {}], [5], []])(
    "rejects wrong arguments: %p",
    async (...args) => {
      await service.workStage(await newKey(), async (manager) => {
        expect((await rejection(manager.transaction(...args))).type).toBe("invalid_argument");
        return {};
      });
    },
  );
});

describe("a service bound to a manager", () => {
  test("runs everything in that transaction", async () => {
    const outer = await newKey();
    const inner = await newKey();
    const failure = new Error("undo all");
    let created;
    const stage = service.workStage(outer, async (manager) => {
      const bound = service.withTransaction(manager);
      created = await bound.create({ request_path: "/bound" });
      await bound.update(created.idempotency_key, { response_code: 200 });
      await bound.lock(created.idempotency_key);
      expect((await bound.retrieve(created.idempotency_key)).response_code).toBe(200);
      expect((await bound.initializeRequest("", "POST", {}, "/")).recovery_point).toBe("started");
      const finished = await bound.workStage(inner, async (given) => {
        expect(given).toBe(manager);
        await insert(given, "inner");
        return { response_code: 201 };
      });
      expect(finished.recovery_point).toBe("finished");
      expect((await rejection(service.retrieve(created.idempotency_key))).type).toBe("not_found");
      throw failure;
    });
    expect(await rejection(stage)).toBe(failure);
    expect((await rejection(service.retrieve(created.idempotency_key))).type).toBe("not_found");
    expect((await service.retrieve(inner)).recovery_point).toBe("started");
    expect(await effects()).toEqual([]);
  });

  test("runs in the savepoint of a nested manager", async () => {
    await service.workStage(await newKey(), async (manager) => {
      const nested = manager.transaction(async (inner) => {
        await service.withTransaction(inner).create({ idempotency_key: "in the savepoint" });
        throw new Error("undo");
      });
      await rejection(nested);
      return {};
    });
    expect((await rejection(service.retrieve("in the savepoint"))).type).toBe("not_found");
  });

  test("leaves the end of the transaction to its owner", async () => {
    const key = await newKey();
    await service.workStage(await newKey(), async (manager) => {
      const bound = service.withTransaction(manager);
      const stage = bound.workStage(key, () => Promise.reject("no"));
      expect(await rejection(stage)).toBe("no");
      await insert(manager, "goes on");
      return {};
    });
    expect(await effects()).toEqual(["goes on"]);
  });
});

describe("atomicPhase_", () => {
  test("runs work in a transaction of its own and resolves to its result", async () => {
    const result = { any: "value" };
    const phase = service.atomicPhase_(async (manager) => {
      await insert(manager, "phase");
      return result;
    });
    expect(await phase).toBe(result);
    expect(await effects()).toEqual(["phase"]);
  });

  test.each(["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "serializable"])(
    "opens it at level %s",
    async (level) => {
      const rows = await service.atomicPhase_(
        (manager) => manager.query("SHOW transaction_isolation"),
        level,
      );
      expect(rows).toEqual([{ transaction_isolation: level.toLowerCase() }]);
    },
  );

  test.each([["NONSENSE"], [5], [{}]])("refuses the level %p", async (level) => {
    const work = jest.fn();
    expect((await rejection(service.atomicPhase_(work, level))).type).toBe("invalid_argument");
    expect(work).not.toHaveBeenCalled();
  });

  test("repeats once, and only when an isolation level was given", async () => {
    const failure = Object.assign(new Error("again"), { code: "40001" });
    const work = jest.fn(() => Promise.reject(failure));
    expect(await rejection(service.atomicPhase_(work, "SERIALIZABLE"))).toBe(failure);
    expect(work).toHaveBeenCalledTimes(2);
    expect(await rejection(service.atomicPhase_(work))).toBe(failure);
    expect(work).toHaveBeenCalledTimes(3);
  });

  test("calls the error handler and rethrows", async () => {
    const failure = new Error("no");
    const handler = jest.fn();
    const work = async (manager) => {
      await insert(manager, "undone");
      throw failure;
    };
    for (const args of [
      ["SERIALIZABLE", handler],
      [undefined, handler],
      [null, handler],
      [handler],
    ]) {
      handler.mockClear();
      expect(await rejection(service.atomicPhase_(work, ...args))).toBe(failure);
      expect(handler).toHaveBeenCalledTimes(1);
      expect(handler).toHaveBeenCalledWith(failure);
    }
    expect(await effects()).toEqual([]);
  });

  test("resolves to the handler's result when it is told not to fail", async () => {
    const work = () => Promise.reject(new Error("no"));
    expect(await service.atomicPhase_(work, () => "handled", true)).toBe("handled");
  });

  test("bound, runs in the caller's transaction and rolls it back for the handler", async () => {
    const failure = new Error("no");
    let activeInHandler;
    const stage = service.workStage(await newKey(), async (manager) => {
      const bound = service.withTransaction(manager);
      await insert(manager, "before");
      expect(await bound.atomicPhase_((given) => given === manager)).toBe(true);
      const phase = bound.atomicPhase_(
        () => Promise.reject(failure),
        () => (activeInHandler = manager.queryRunner.isTransactionActive),
      );
      expect(await rejection(phase)).toBe(failure);
      throw failure;
    });
    expect(await rejection(stage)).toBe(failure);
    expect(activeInHandler).toBe(false);
    expect(await effects()).toEqual([]);
  });

  test("does not say that it committed what the server has aborted", async () => {
    const phase = service.atomicPhase_(async (manager) => {
      await insert(manager, "lost");
      await manager.query("SELECT 1/0").catch(() => {});
    });
    expect((await rejection(phase)).code).toBe("25P02");
    expect(await effects()).toEqual([]);
  });
});
