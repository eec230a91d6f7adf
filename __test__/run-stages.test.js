"use strict";

const { randomUUID } = require("node:crypto");
const { rejection, useDatabase } = require("./helpers/database");
const {
  begin,
  beginSoon,
  eventually,
  inUse,
  leaseLost,
  openTypeOrm,
  reused,
  settled,
  signal,
  sleep,
} = require("./helpers/flows");

const database = useDatabase();
let service;
let typeOrm;

beforeAll(async () => {
  service = database.service();
  typeOrm = await openTypeOrm(database);
  await database.pool.query("CREATE TABLE effect (id serial, name text)");
});

beforeEach(() => database.pool.query("TRUNCATE effect"));

const insert = (manager, name) => manager.query("INSERT INTO effect (name) VALUES ($1)", [name]);

async function effects() {
  const { rows } = await database.pool.query("SELECT name FROM effect ORDER BY id");
  return rows.map(({ name }) => name);
}

async function stored(key) {
  const sql = "SELECT * FROM idempotency_key WHERE idempotency_key = $1";
  return (await database.pool.query(sql, [key])).rows[0];
}

const response_body = { order: "order_1" };

/** A checkout of three stages, each of which leaves a trace. */
function checkout(changed = {}) {
  return {
    started: async (manager) => {
      await insert(manager, "reserve");
      return { recovery_point: "reserved" };
    },
    reserved: async (manager) => {
      await insert(manager, "pay");
      return { recovery_point: "paid" };
    },
    paid: async (manager) => {
      await insert(manager, "order");
      return { response_code: 201, response_body };
    },
    ...changed,
  };
}

const ALL = ["reserve", "pay", "order"];
const request = (key = randomUUID()) => ({ key, method: "POST", params: {}, path: "/checkout" });
const answer = { response_code: 201, response_body };

describe("runStages", () => {
  test("runs the stages one after the other and resolves to the answer", async () => {
    const given = request();
    const result = await service.runStages(given, checkout());
    const told = { idempotency_key: given.key, ...answer, replayed: false, began: "new" };
    expect(result).toStrictEqual(told);
    expect(result.response_body).toBe(response_body);
    expect(await effects()).toEqual(ALL);
    expect(await stored(given.key)).toMatchObject({
      request_method: "POST",
      request_params: {},
      request_path: "/checkout",
      recovery_point: "finished",
      locked_at: null,
      ...answer,
    });
  });

  test("replays the answer of a finished request, whoever has finished it", async () => {
    const given = request();
    await service.runStages(given, checkout());
    const replayed = {
      idempotency_key: given.key,
      ...answer,
      replayed: true,
      began: "finished",
    };
    expect(await service.runStages(given, checkout())).toStrictEqual(replayed);
    // Not even stages are needed for that.
    expect(await service.runStages(given, {})).toStrictEqual(replayed);
    expect(await effects()).toEqual(ALL);
  });

  test("generates a key where there is none, and needs nothing of the request", async () => {
    const { idempotency_key } = await service.runStages({ method: "POST" }, checkout());
    expect(idempotency_key).toMatch(/^[0-9a-f-]{36}$/);
    expect((await service.runStages({}, { started: () => ({}) })).response_code).toBeNull();
    expect((await service.runStages(undefined, { started: () => ({}) })).replayed).toBe(false);
  });

  test("hands the manager and the key to each stage", async () => {
    const seen = [];
    const stages = Object.entries(checkout()).map(([point, stage]) => [
      point,
      (manager, key) => {
        seen.push([point, key.recovery_point, key.idempotency_key]);
        return stage(manager);
      },
    ]);
    const given = request();
    await service.runStages(given, Object.fromEntries(stages));
    const points = ["started", "reserved", "paid"];
    expect(seen).toEqual(points.map((point) => [point, point, given.key]));
  });

  test("a synchronous failure rejects", async () => {
    const failure = "no";
    const stages = {
      started: () => {
        throw failure;
      },
    };
    expect(await rejection(service.runStages(request(), stages))).toBe(failure);
  });

  test("a retry goes on from where the request has failed, at once", async () => {
    const given = request();
    const failure = new Error("declined");
    const failing = checkout({
      reserved: async (manager) => {
        await insert(manager, "undone");
        throw failure;
      },
    });
    expect(await rejection(service.runStages(given, failing))).toBe(failure);
    expect(await stored(given.key)).toMatchObject({ recovery_point: "reserved", locked_at: null });
    expect(await effects()).toEqual(["reserve"]);
    expect(await service.runStages(given, checkout())).toMatchObject({
      ...answer,
      replayed: false,
    });
    expect(await effects()).toEqual(ALL);
  });

  test("keeps its lease while a stage and what it calls take their time", async () => {
    const short = database.service({ leaseTimeout: 200 });
    const given = request();
    const paying = signal();
    const inside = signal();
    const result = short.runStages(
      given,
      checkout({
        reserved: async (manager) => {
          inside.send();
          await paying.sent;
          await insert(manager, "pay");
          return { recovery_point: "paid" };
        },
      }),
    );
    await inside.sent;
    await sleep(500);
    expect(await rejection(short.runStages(given, checkout()))).toMatchObject(inUse);
    paying.send();
    expect(await result).toMatchObject(answer);
    expect(await effects()).toEqual(ALL);
  });

  test("keeps its lease while it waits for a connection", async () => {
    const small = database.service({
      leaseTimeout: 1000,
      maxConnections: 1,
      commitKeyFirst: true,
    });
    const inside = signal();
    const finish = signal();
    const other = small.runStages(request(), {
      started: async () => {
        inside.send();
        await finish.sent;
        return {};
      },
    });
    await inside.sent;
    const given = request();
    const result = small.runStages(given, checkout());
    const { locked_at: begun } = await eventually(() => stored(given.key));
    const renewed = async () => (await stored(given.key)).locked_at - begun > 2000;
    expect(await eventually(renewed)).toBe(true);
    const again = small.initializeRequest(given.key, "POST", {}, "/checkout");
    const outcome = await again.catch((error) => error);
    finish.send();
    const [, done] = await Promise.allSettled([other, result]);
    expect(outcome).toMatchObject(inUse);
    expect(done.value).toMatchObject(answer);
  });

  test("one of many calls with a key does the work", async () => {
    for (let round = 0; round < 10; round += 1) {
      const given = request();
      const calls = Array.from({ length: 16 }, () => service.runStages(given, checkout()));
      const { won, codes } = await settled(calls);
      expect(won).toBeGreaterThanOrEqual(1);
      expect([[], [inUse.code]]).toContainEqual(codes);
      expect((await service.runStages(given, {})).replayed).toBe(true);
    }
    expect(await effects()).toHaveLength(10 * ALL.length);
  });

  test("calls that wait all get the answer", async () => {
    const waiting = database.service({ waitTimeout: 20_000 });
    const given = request();
    const calls = Array.from({ length: 8 }, () => waiting.runStages(given, checkout()));
    const results = await Promise.all(calls);
    expect(results.map(({ response_code }) => response_code)).toEqual(Array(8).fill(201));
    expect(results.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(await effects()).toEqual(ALL);
  });

  test("is fenced off when it was taken over in the meantime", async () => {
    const impatient = database.service({ leaseTimeout: 1 });
    const given = request();
    const stages = checkout({
      // Between the stages it stalls, as far as the other one can tell.
      reserved: jest.fn(),
    });
    const taken = signal();
    const slow = service.runStages(given, {
      ...stages,
      started: async (manager) => {
        await insert(manager, "reserve");
        setImmediate(() => taken.send());
        return { recovery_point: "reserved" };
      },
    });
    await taken.sent;
    // Whoever comes first: it is never both.
    const other = eventually(() => impatient.runStages(given, checkout()).catch(() => {}));
    const outcomes = [await slow.catch((error) => error), await other];
    expect(outcomes[1]).toMatchObject(answer);
    expect([leaseLost.code, inUse.code, undefined, "invalid_data"]).toContain(outcomes[0].code);
    expect(await effects()).toEqual(ALL);
  });

  describe("where a recovery point has no function", () => {
    const unknown = { type: "invalid_argument", code: "unknown_recovery_point" };

    test("nothing is done for it, and the request is free", async () => {
      const given = request();
      const { started, ...others } = checkout();
      expect(await rejection(service.runStages(given, others))).toMatchObject(unknown);
      expect(await effects()).toEqual([]);
      expect(await stored(given.key)).toBeUndefined();
      await service.runStages(given, { started, ...others });
      expect(await effects()).toEqual(ALL);
    });

    test("the stage that leads there is undone", async () => {
      const given = request();
      const astray = checkout({
        reserved: async (manager) => {
          await insert(manager, "undone");
          return { recovery_point: "nowhere" };
        },
      });
      expect(await rejection(service.runStages(given, astray))).toMatchObject(unknown);
      expect(await effects()).toEqual(["reserve"]);
      expect(await stored(given.key)).toMatchObject({
        recovery_point: "reserved",
        locked_at: null,
      });
    });

    test.each(["toString", "__proto__", "constructor"])(
      "what objects inherit is none: %s",
      async (name) => {
        const given = request();
        const astray = { started: () => ({ recovery_point: name }) };
        expect(await rejection(service.runStages(given, astray))).toMatchObject(unknown);
      },
    );
  });

  test.each([
    ["no stages", [{}]],
    ["stages that are a list", [{}, [() => ({})]]],
    ["a stage that is no function", [{}, { started: "no" }]],
    ["a request that is text", ["key", { started: () => ({}) }]],
    ["a request with an unknown property", [{ headerKey: "k" }, { started: () => ({}) }]],
  ])("refuses %s", async (_, args) => {
    const error = await rejection(service.runStages(...args));
    expect(error).toMatchObject({ type: "invalid_argument" });
  });

  test.each([[{}], ["text"], [undefined], [null]])(
    "a stage has to return an object: %p",
    async (result) => {
      const outcome = service.runStages(request(), { started: () => result });
      if (typeof result === "object" && result !== null) {
        expect((await outcome).response_code).toBeNull();
      } else {
        expect(await rejection(outcome)).toMatchObject({ type: "invalid_data" });
      }
    },
  );

  test("refuses keys that are none and those of other requests", async () => {
    expect(await rejection(service.runStages(request("a b"), checkout()))).toMatchObject({
      code: "invalid_idempotency_key",
    });
    const { idempotency_key: key } = await begin(service);
    expect(await rejection(service.runStages(request(key), checkout()))).toMatchObject(reused);
    expect(await effects()).toEqual([]);
  });

  const bound = [
    [
      "a transaction of its own",
      (work) => service.atomicPhase_((manager) => work(service.withTransaction(manager))),
    ],
    [
      "a TypeORM transaction",
      (work) =>
        typeOrm.dataSource.transaction((manager) =>
          work(typeOrm.service().withTransaction(manager)),
        ),
    ],
  ];

  test.each(bound)("bound, runs in %s", async (_, transaction) => {
    const given = request();
    const result = await transaction(async (own) => {
      const inner = await own.runStages(given, checkout());
      expect(await effects()).toEqual([]);
      return inner;
    });
    expect(result).toMatchObject({ ...answer, replayed: false });
    expect(await effects()).toEqual(ALL);
    expect(await service.runStages(given, {})).toMatchObject({ replayed: true });
  });

  test.each(bound)("bound, is undone with %s", async (_, transaction) => {
    const given = request();
    const failure = new Error("undo");
    const stages = checkout({ paid: () => Promise.reject(failure) });
    expect(await rejection(transaction((own) => own.runStages(given, stages)))).toBe(failure);
    expect(await effects()).toEqual([]);
    expect(await stored(given.key)).toBeUndefined();
    await service.runStages(given, checkout());
    expect(await effects()).toEqual(ALL);
  });

  test.each(bound)(
    "bound, frees a request that it has taken over in %s",
    async (_, transaction) => {
      const { idempotency_key: key } = await service.create({ recovery_point: "reserved" });
      const stages = checkout({ paid: () => Promise.reject(new Error("undo")) });
      await rejection(transaction((own) => own.runStages(request(key), stages)));
      expect(await beginSoon(service, key).catch((error) => error.code)).toBeTruthy();
      expect((await stored(key)).recovery_point).toBe("reserved");
      expect(await effects()).toEqual([]);
    },
  );

  test("with a TypeORM manager, stages get an EntityManager", async () => {
    const managers = [];
    const stages = { started: (manager) => (managers.push(manager), {}) };
    await typeOrm.service().runStages(request(), stages);
    expect(managers[0].queryRunner).toBeDefined();
    expect(managers[0].connection).toBe(typeOrm.dataSource);
  });

  test('works in mode "medusa", with its semantics', async () => {
    const medusa = database.service({ mode: "medusa" });
    const { idempotency_key: key } = await medusa.runStages(request(), checkout());
    expect(await medusa.runStages(request(key), {})).toMatchObject({ ...answer, replayed: true });
    expect(await effects()).toEqual(ALL);
  });
});

describe("stageKey", () => {
  test("is the same for the same key and stage, in every process", () => {
    const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
    expect(service.stageKey("order-1", "pay")).toMatch(uuid);
    expect(service.stageKey("order-1", "pay")).toBe(typeOrm.service().stageKey("order-1", "pay"));
    expect(service.stageKey({ idempotency_key: "order-1" }, "pay")).toBe(
      service.stageKey("order-1", "pay"),
    );
  });

  test("is another one for every other key and stage", () => {
    const pairs = [
      ["order-1", "pay"],
      ["order-2", "pay"],
      ["order-1", "ship"],
      ["pay", "order-1"],
      ["order-1p", "ay"],
      ["order", "-1pay"],
      ["órder-1", "päy"],
    ];
    expect(new Set(pairs.map((pair) => service.stageKey(...pair))).size).toBe(pairs.length);
  });

  test.each([
    ["no stage", ["k"], "invalid_argument"],
    ["an empty stage", ["k", ""], "invalid_argument"],
    ["a stage that is no text", ["k", 1], "invalid_argument"],
    ["no key", [undefined, "pay"], "not_found"],
    ["a key that is no text", [1, "pay"], "invalid_data"],
  ])("refuses %s", (_, args, type) => {
    expect(() => service.stageKey(...args)).toThrow(expect.objectContaining({ type }));
  });
});
