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
const { startProxy } = require("./helpers/proxy");

/** Codes of a lost connection, and of one that was refused. */
const LOST = ["ECONNRESET", "EPIPE", "08006"];
const SHORT_LEASE = 100;
const PAST_SHORT_LEASE = 150;

const database = useDatabase();
let service;
/** Judges by a short lease, so that it takes over soon what another service has begun. */
let impatient;
let typeOrm;
let dataSource;

beforeAll(async () => {
  service = database.service();
  impatient = database.service({ leaseTimeout: SHORT_LEASE });
  const opened = await openTypeOrm(database);
  dataSource = opened.dataSource;
  typeOrm = opened.service();
  await database.pool.query("CREATE TABLE effect (name text)");
});

beforeEach(() => database.pool.query("TRUNCATE effect"));

async function stored(key) {
  const sql = "SELECT * FROM idempotency_key WHERE idempotency_key = $1";
  return (await database.pool.query(sql, [key])).rows[0];
}

async function effects() {
  return (await database.pool.query("SELECT name FROM effect")).rows.map(({ name }) => name);
}

const insert = (manager, name) => manager.query("INSERT INTO effect VALUES ($1)", [name]);
const answer = { response_code: 201, response_body: { order: "order_1" } };

/** A flow that has stalled beyond its lease, and the one that has taken its request over. */
async function takenOver() {
  const first = await begin(service);
  await sleep(PAST_SHORT_LEASE);
  const second = await begin(impatient, first.idempotency_key);
  return { first, second, key: first.idempotency_key };
}

/** The four places where a stage may run. */
const places = [
  ["unbound", (stage) => stage(service)],
  ["unbound, with a TypeORM manager", (stage) => stage(typeOrm)],
  [
    "bound to a transaction of its own",
    (stage) => service.atomicPhase_((manager) => stage(service.withTransaction(manager))),
  ],
  [
    "bound to a TypeORM transaction",
    (stage) => dataSource.transaction((manager) => stage(typeOrm.withTransaction(manager))),
  ],
];

describe("the client's key", () => {
  const uuid = randomUUID();

  test.each([
    ["a uuid", uuid, uuid],
    ["a quoted uuid", `"a${uuid}"`, `a${uuid}`],
    ["255 characters", "k".repeat(255), "k".repeat(255)],
    ["one character", "~", "~"],
    ["a quote inside", 'a"b', 'a"b'],
  ])("is adopted as it is: %s", async (_, header, expected) => {
    expect((await begin(service, header)).idempotency_key).toBe(expected);
    expect(await stored(expected)).toMatchObject({
      request_method: "POST",
      request_params: { id: "cart_1" },
      request_path: "/complete",
      recovery_point: "started",
      locked_at: expect.any(Date),
    });
  });

  test.each([[undefined], [null], [""]])("is generated where there is none: %p", async (header) => {
    const keys = [await begin(service, header ?? ""), await begin(service, header ?? "")];
    expect(keys[0].idempotency_key).toMatch(/^[0-9a-f-]{36}$/);
    expect(keys[0].idempotency_key).not.toBe(keys[1].idempotency_key);
  });

  test.each([
    ["a space", "a b"],
    ["only a space", " "],
    ["256 characters", "k".repeat(256)],
    ["no ASCII", "schlüssel"],
    ["a line break", "a\n"],
    ["U+0000", "\0"],
    ["an empty string in quotes", '""'],
    ["an open quote", '"a'],
    ["more after the quotes", '"a" b'],
  ])("is refused where it is none: %s", async (_, header) => {
    const { rows } = await database.pool.query("SELECT count(*) FROM idempotency_key");
    expect(await rejection(begin(service, header))).toMatchObject({
      type: "invalid_data",
      code: "invalid_idempotency_key",
    });
    expect((await database.pool.query("SELECT count(*) FROM idempotency_key")).rows).toEqual(rows);
  });

  test.each([[1], [{}], [["a", "b"]], [true]])(
    "is refused where it is no text: %p",
    async (header) => {
      expect(await rejection(begin(service, header))).toMatchObject({ type: "invalid_data" });
    },
  );
});

describe("a request whose key exists", () => {
  test("is in conflict while another is in progress", async () => {
    const { idempotency_key: key } = await begin(service);
    expect(await rejection(begin(service, key))).toMatchObject(inUse);
    expect(await rejection(begin(typeOrm, key))).toMatchObject(inUse);
  });

  test("takes over once the lease of the other has run out", async () => {
    const first = await begin(impatient);
    await sleep(PAST_SHORT_LEASE);
    const second = await begin(impatient, first.idempotency_key);
    expect({ ...second, locked_at: null }).toEqual({ ...first, locked_at: null });
    expect(second.locked_at.getTime()).toBeGreaterThan(first.locked_at.getTime());
  });

  test("does not take over what a stage is working on, however long", async () => {
    const first = await begin(impatient);
    const inside = signal();
    const finish = signal();
    const stage = impatient.workStage(first, async () => {
      inside.send();
      await finish.sent;
      return answer;
    });
    await inside.sent;
    await sleep(PAST_SHORT_LEASE);
    const { idempotency_key: key } = first;
    expect(await rejection(begin(impatient, key))).toMatchObject(inUse);
    expect(await rejection(impatient.workStage(key, () => ({})))).toMatchObject(inUse);
    finish.send();
    expect((await stage).recovery_point).toBe("finished");
    expect(await begin(impatient, key)).toMatchObject(answer);
  });

  test("gets the answer of a finished one, which has no lease any more", async () => {
    const first = await begin(service);
    const finished = await service.workStage(first, () => answer);
    expect(finished.locked_at).toBeNull();
    expect((await stored(first.idempotency_key)).locked_at).toBeNull();
    for (const replaying of [service, typeOrm]) {
      expect(await begin(replaying, first.idempotency_key)).toEqual(finished);
    }
  });

  test("gets the answer that an update has finished it with", async () => {
    const { idempotency_key: key } = await begin(service);
    const finished = await service.update(key, { recovery_point: "finished", ...answer });
    expect(finished.locked_at).toBeNull();
    expect(await begin(service, key)).toEqual(finished);
  });

  test("takes over at once what has no lease", async () => {
    const { idempotency_key: key } = await service.create({});
    expect((await begin(service, key)).locked_at).not.toBeNull();
  });

  test("one of 64 at once begins it", async () => {
    const others = database.service({ maxConnections: 8 });
    for (let round = 0; round < 20; round += 1) {
      const key = randomUUID();
      const calls = Array.from({ length: 64 }, (_, index) =>
        begin(index % 2 === 0 ? service : others, key),
      );
      expect(await settled(calls)).toEqual({ won: 1, codes: [inUse.code] });
    }
  });

  test("one of 64 at once takes it over", async () => {
    for (let round = 0; round < 20; round += 1) {
      const { idempotency_key: key } = await service.create({});
      const calls = Array.from({ length: 64 }, () => begin(service, key));
      expect(await settled(calls)).toEqual({ won: 1, codes: [inUse.code] });
    }
  });

  test("one begins it of those inside and outside of transactions", async () => {
    for (let round = 0; round < 10; round += 1) {
      const key = randomUUID();
      const calls = Array.from({ length: 24 }, (_, index) => {
        const [, place] = places[index % places.length];
        return place((bound) => begin(bound, key));
      });
      expect(await settled(calls)).toEqual({ won: 1, codes: [inUse.code] });
    }
  });

  test.each(places.slice(2))("begins it when the first was rolled back: %s", async (_, place) => {
    const key = randomUUID();
    const failure = new Error("undo");
    const inside = signal();
    const finish = signal();
    const first = place(async (bound) => {
      await begin(bound, key);
      inside.send();
      await finish.sent;
      throw failure;
    });
    await inside.sent;
    const second = begin(service, key);
    finish.send();
    expect(await rejection(first)).toBe(failure);
    expect((await second).idempotency_key).toBe(key);
    await service.workStage(await second, () => answer);
    expect((await stored(key)).recovery_point).toBe("finished");
  });
});

describe("a key that another request comes with", () => {
  const request = ["POST", { id: "cart_1", deep: { a: 1, b: [null] } }, "/complete"];

  const others = [
    ["method", ["PUT", request[1], request[2]]],
    ["params", ["POST", { id: "cart_2" }, request[2]]],
    ["params, deep inside", ["POST", { id: "cart_1", deep: { a: 1, b: [] } }, request[2]]],
    ["path", ["POST", request[1], "/other"]],
  ];

  test.each(others)("is refused: another %s", async (_, other) => {
    const { idempotency_key: key } = await service.initializeRequest(randomUUID(), ...request);
    expect(await rejection(service.initializeRequest(key, ...other))).toMatchObject(reused);
    expect(await rejection(service.initializeRequest(key, ...request))).toMatchObject(inUse);
    await service.workStage(key, () => answer);
    expect(await rejection(service.initializeRequest(key, ...other))).toMatchObject(reused);
    expect(await service.initializeRequest(key, ...request)).toMatchObject(answer);
  });

  test("is its own where only the order of properties differs", async () => {
    const { idempotency_key: key } = await service.initializeRequest(randomUUID(), ...request);
    await service.workStage(key, () => answer);
    const params = { deep: { b: [null], a: 1 }, id: "cart_1" };
    expect(await service.initializeRequest(key, "POST", params, "/complete")).toMatchObject(answer);
  });

  test("is its own as far as nothing is known of either", async () => {
    const { idempotency_key: unknown } = await service.create({});
    expect((await service.initializeRequest(unknown, ...request)).idempotency_key).toBe(unknown);
    const { idempotency_key: key } = await service.initializeRequest(randomUUID(), ...request);
    await service.workStage(key, () => answer);
    expect(await service.initializeRequest(key)).toMatchObject(answer);
  });

  test("is refused for another body", async () => {
    const key = randomUUID();
    const withBody = (body) => ({ key, method: "POST", path: "/", body });
    const stages = { started: () => answer };
    await service.runStages(withBody({ a: 1, b: { c: 2, d: 3 } }), stages);
    const again = await service.runStages(withBody({ b: { d: 3, c: 2 }, a: 1 }), stages);
    expect(again.replayed).toBe(true);
    expect(await rejection(service.runStages(withBody({ a: 1 }), stages))).toMatchObject(reused);
  });

  describe("in a table without the column for its body", () => {
    const run = (given, key, body) =>
      given.runStages({ key, method: "POST", path: "/", body }, { started: () => answer });

    /** A service on a table as Medusa's migrations leave it. */
    async function onBareTable(schema, container = {}) {
      const { IdempotencyKeyService } = require("..");
      const options = { databaseUrl: database.url, schema };
      const bare = database.closed(new IdempotencyKeyService(container, options));
      await bare.migrate();
      await database.pool.query(
        `ALTER TABLE ${schema}.idempotency_key DROP COLUMN request_fingerprint`,
      );
      return bare;
    }

    test("is taken for its own, and the process warns once", async () => {
      const emitWarning = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
      const bare = await onBareTable("bare");
      const key = randomUUID();
      expect((await run(bare, key, { a: 1 })).replayed).toBe(false);
      expect((await run(bare, key, { a: 2 })).replayed).toBe(true);
      expect(emitWarning).toHaveBeenCalledTimes(1);
      expect(emitWarning.mock.calls[0][0]).toContain("request_fingerprint");
      emitWarning.mockRestore();
    });

    test("the container's logger is told in place of the process", async () => {
      const warn = jest.fn();
      const bare = await onBareTable("logged", { logger: { warn } });
      await run(bare, randomUUID(), { a: 1 });
      await run(bare, randomUUID(), { a: 1 });
      expect(warn).toHaveBeenCalledTimes(1);
    });

    test("one warning is enough for many first calls at once", async () => {
      const warn = jest.fn();
      const bare = await onBareTable("crowded", { logger: { warn } });
      await Promise.all(Array.from({ length: 8 }, () => run(bare, randomUUID(), { a: 1 })));
      expect(warn).toHaveBeenCalledTimes(1);
    });

    test("there is no warning where no body is to be compared", async () => {
      const warn = jest.fn();
      const bare = await onBareTable("unasked", { logger: { warn } });
      await begin(bare);
      expect(warn).not.toHaveBeenCalled();
    });

    test("migrate() adds the column, and bodies are compared from then on", async () => {
      const warn = jest.fn();
      const bare = await onBareTable("migrated", { logger: { warn } });
      await run(bare, randomUUID(), { a: 1 });
      await bare.migrate();
      const key = randomUUID();
      await run(bare, key, { a: 1 });
      expect(await rejection(run(bare, key, { a: 2 }))).toMatchObject(reused);
    });
  });
});

describe("waitTimeout", () => {
  /** Waits long, on connections of its own. */
  let waiting;

  beforeAll(() => {
    const databaseUrl = `${database.url}?application_name=waiting`;
    waiting = database.service({ databaseUrl, waitTimeout: 60_000 });
  });

  test("an unbound request waits for the answer of the one in progress", async () => {
    const first = await begin(service);
    const second = begin(waiting, first.idempotency_key);
    await database.untilAsked("waiting", 2);
    await service.workStage(first, () => answer);
    expect(await second).toMatchObject(answer);
  });

  test("an unbound request goes on where the one in progress has failed", async () => {
    const first = await begin(service);
    const second = begin(waiting, first.idempotency_key);
    await database.untilAsked("waiting", 2);
    await rejection(service.workStage(first, () => Promise.reject(new Error("no"))));
    expect((await second).recovery_point).toBe("started");
  });

  test("an unbound request takes over when the lease of the one in progress runs out", async () => {
    const waiting = database.service({ waitTimeout: 20_000, leaseTimeout: 300 });
    const first = await begin(waiting);
    const second = await begin(waiting, first.idempotency_key);
    expect(second.locked_at.getTime() - first.locked_at.getTime()).toBeGreaterThanOrEqual(300);
  });

  test("is over some time", async () => {
    const waiting = database.service({ waitTimeout: 200 });
    const first = await begin(service);
    const begun = Date.now();
    expect(await rejection(begin(waiting, first.idempotency_key))).toMatchObject(inUse);
    expect(Date.now() - begun).toBeGreaterThanOrEqual(190);
  });

  test.each(places.slice(2))("does not hold the connection of a caller: %s", async (_, place) => {
    const options = { waitTimeout: 60_000 };
    const waiting = { service: database.service(options), typeOrm: null };
    waiting.typeOrm = (await openTypeOrm(database)).service(options);
    const first = await begin(service);
    const second = place((bound) => {
      const { transactionManager_: manager } = bound;
      const own = manager.connection ? waiting.typeOrm : waiting.service;
      return begin(own.withTransaction(manager), first.idempotency_key);
    });
    expect(await rejection(second)).toMatchObject(inUse);
  });
});

describe("a stage that fails", () => {
  const failure = new Error("no");

  async function failingStage(bound, key, meddle = () => {}) {
    return bound.workStage(key, async (manager) => {
      await insert(manager, "undone");
      await meddle(manager);
      throw failure;
    });
  }

  test.each(places.slice(0, 2))("frees its request at once: %s", async (_, place) => {
    const first = await begin(service);
    const { idempotency_key: key } = first;
    expect(await rejection(place((unbound) => failingStage(unbound, first)))).toBe(failure);
    expect((await stored(key)).locked_at).toBeNull();
    expect((await begin(service, key)).recovery_point).toBe("started");
    expect(await effects()).toEqual([]);
  });

  test.each(places.slice(2))("frees its request soon: %s", async (_, place) => {
    const first = await begin(service);
    const { idempotency_key: key } = first;
    expect(await rejection(place((bound) => failingStage(bound, first)))).toBe(failure);
    expect(await beginSoon(service, key)).toMatchObject({ recovery_point: "started" });
    expect(await effects()).toEqual([]);
  });

  test.each(places)("may have rolled back itself: %s", async (_, place) => {
    const first = await begin(service);
    const rollBack = (manager) => manager.queryRunner.rollbackTransaction();
    const stage = place((bound) => failingStage(bound, first, rollBack));
    expect(await rejection(stage)).toBe(failure);
    expect(await beginSoon(service, first.idempotency_key)).toBeTruthy();
    expect(await effects()).toEqual([]);
  });

  test.each(places)("may have lost its connection: %s", async (_, place) => {
    const first = await begin(service);
    const stage = place((bound) =>
      bound.workStage(first, async (manager) => {
        await insert(manager, "undone");
        const [{ pid }] = await manager.query("SELECT pg_backend_pid() AS pid");
        await database.pool.query("SELECT pg_terminate_backend($1)", [pid]);
        await manager.query("SELECT 1");
        return answer;
      }),
    );
    // By its end the client may not have been told yet why.
    expect((await rejection(stage)).message).toMatch(/terminat|connection|clos|lost/i);
    expect(await beginSoon(service, first.idempotency_key)).toMatchObject({
      recovery_point: "started",
    });
    expect(await effects()).toEqual([]);
  });

  describe("for want of a connection", () => {
    let proxy;
    let doomed;
    const maxConnections = 3;

    beforeEach(async () => {
      proxy = await startProxy(database.url);
      doomed = database.service({ databaseUrl: proxy.url, maxConnections });
      let inside = 0;
      const all = signal();
      const stages = Array.from({ length: maxConnections }, async () =>
        doomed.workStage(await begin(doomed), async () => {
          inside += 1;
          if (inside === maxConnections) {
            all.send();
          }
          await all.sent;
          return {};
        }),
      );
      await Promise.all(stages);
    });

    afterEach(async () => {
      await doomed.close();
      await proxy.close();
    });

    /** Loses all connections; there are others again when one was asked for in vain. */
    async function loseConnections() {
      proxy.refuse();
      proxy.cut();
      await eventually(() => proxy.refusals() > 0);
      proxy.accept();
    }

    test("frees its request where it could not begin", async () => {
      const first = await begin(doomed);
      const losing = loseConnections();
      const work = jest.fn();
      const error = await rejection(doomed.workStage(first, work));
      expect(LOST).toContain(error.code);
      await losing;
      expect(proxy.refusals()).toBeGreaterThan(0);
      expect(work).not.toHaveBeenCalled();
      expect(await beginSoon(service, first.idempotency_key)).toBeTruthy();
    });

    test("frees its request where all connections were lost", async () => {
      const first = await begin(doomed);
      let losing;
      const stage = doomed.workStage(first, async (manager) => {
        losing = loseConnections();
        await manager.query("SELECT 1");
        return answer;
      });
      expect(LOST).toContain((await rejection(stage)).code);
      await losing;
      expect(proxy.refusals()).toBeGreaterThan(0);
      expect(await beginSoon(service, first.idempotency_key)).toBeTruthy();
    });
  });

  test("frees its request where the answer to its COMMIT was lost", async () => {
    let committing = false;
    const proxy = await startProxy(database.url, {
      forward(to, data, isAnswer) {
        committing ||= !isAnswer && data.includes("; COMMIT");
        if (!committing || !isAnswer) {
          to.write(data);
        }
      },
    });
    const doomed = database.service({ databaseUrl: proxy.url });
    try {
      const first = await begin(doomed);
      const stage = rejection(doomed.workStage(first, () => ({ recovery_point: "paid" })));
      await database.until("EXISTS (SELECT FROM idempotency_key WHERE recovery_point = 'paid')");
      committing = false;
      proxy.cut();
      expect(await stage).toMatchObject({ code: "08007" });
      // Its token was known before: nobody waits for the lease to run out.
      const again = await beginSoon(service, first.idempotency_key);
      expect(again).toMatchObject({ recovery_point: "paid" });
      expect(service.attemptOf(again).began).toBe("released");
    } finally {
      await doomed.close();
      await proxy.close();
    }
  });

  test("may be tried again by the same flow", async () => {
    const first = await begin(service);
    for (const key of [first, first.idempotency_key]) {
      expect(await rejection(failingStage(service, key))).toBe(failure);
    }
    expect((await service.workStage(first, () => answer)).recovery_point).toBe("finished");
  });

  test("before its end has not freed its request", async () => {
    const first = await begin(service);
    const inside = signal();
    const finish = signal();
    const transaction = dataSource.transaction(async (manager) => {
      await rejection(failingStage(typeOrm.withTransaction(manager), first));
      inside.send();
      await finish.sent;
    });
    await inside.sent;
    expect(await rejection(begin(service, first.idempotency_key))).toMatchObject(inUse);
    finish.send();
    await transaction;
    expect(await beginSoon(service, first.idempotency_key)).toBeTruthy();
  });
});

describe("workStage", () => {
  test.each(places)("does not run a finished key again: %s", async (_, place) => {
    const first = await begin(service);
    const finished = await service.workStage(first, () => answer);
    const again = jest.fn(() => ({ response_code: 500 }));
    for (const key of [first.idempotency_key, first, finished]) {
      expect(await place((bound) => bound.workStage(key, again))).toEqual(finished);
    }
    expect(again).not.toHaveBeenCalled();
    expect(await stored(first.idempotency_key)).toMatchObject(answer);
  });

  test.each(places)("runs only while the key is where its object says: %s", async (_, place) => {
    const first = await begin(service);
    const next = await service.workStage(first, () => ({ recovery_point: "paid" }));
    const late = jest.fn(() => ({ recovery_point: "twice" }));
    const current = await place((bound) => bound.workStage(first, late));
    expect(current.recovery_point).toBe("paid");
    expect(late).not.toHaveBeenCalled();
    const finished = await place((bound) => bound.workStage(next, () => answer));
    expect(finished).toMatchObject({ recovery_point: "finished", ...answer });
  });

  test("renews the lease", async () => {
    const first = await begin(service);
    await sleep(PAST_SHORT_LEASE);
    await service.workStage(first, () => ({ recovery_point: "paid" }));
    expect(await rejection(begin(service, first.idempotency_key))).toMatchObject(inUse);
    const { locked_at } = await stored(first.idempotency_key);
    expect(locked_at.getTime() - first.locked_at.getTime()).toBeGreaterThanOrEqual(SHORT_LEASE);
  });

  test("a stage that outlasts its lease keeps it for a while", async () => {
    const first = await begin(impatient);
    const paid = await impatient.workStage(first, async () => {
      await sleep(PAST_SHORT_LEASE);
      return { recovery_point: "paid" };
    });
    const { locked_at } = await stored(first.idempotency_key);
    expect(locked_at.getTime() - first.locked_at.getTime()).toBeGreaterThan(SHORT_LEASE);
    expect(await rejection(begin(service, first.idempotency_key))).toMatchObject(inUse);
    expect((await impatient.workStage(paid, () => answer)).recovery_point).toBe("finished");
  });

  test("runs for a key that nobody has begun", async () => {
    const { idempotency_key: key } = await service.create({});
    expect((await service.workStage(key, () => answer)).recovery_point).toBe("finished");
  });

  test("of many stages of one key at once one runs", async () => {
    for (let round = 0; round < 10; round += 1) {
      const first = await begin(service);
      const ran = jest.fn(() => ({ recovery_point: "paid" }));
      const stages = Array.from({ length: 16 }, () => service.workStage(first, ran));
      const { codes } = await settled(stages);
      expect(ran).toHaveBeenCalledTimes(1);
      expect([[], [inUse.code]]).toContainEqual(codes);
      expect((await stored(first.idempotency_key)).recovery_point).toBe("paid");
    }
  });

  test("an unknown key is refused before its work", async () => {
    const work = jest.fn();
    for (const [, place] of places) {
      const stage = place((bound) => bound.workStage(randomUUID(), work));
      expect(await rejection(stage)).toMatchObject({ type: "not_found" });
    }
    expect(work).not.toHaveBeenCalled();
  });
});

describe("a flow whose request was taken over", () => {
  test.each(places)("runs no stage: %s", async (_, place) => {
    const { first, second } = await takenOver();
    const late = jest.fn(() => answer);
    const stage = place((bound) => bound.workStage(first, late));
    expect(await rejection(stage)).toMatchObject(leaseLost);
    expect(late).not.toHaveBeenCalled();
    expect((await impatient.workStage(second, () => answer)).recovery_point).toBe("finished");
  });

  test.each(places)("updates nothing: %s", async (_, place) => {
    const { first, key } = await takenOver();
    const update = place((bound) => bound.update(first, { response_code: 500 }));
    expect(await rejection(update)).toMatchObject(leaseLost);
    expect((await stored(key)).response_code).toBeNull();
  });

  test("does not lock", async () => {
    const { first } = await takenOver();
    expect(await rejection(service.lock(first))).toMatchObject({ type: "conflict" });
  });

  test("does not end the lease of the other by releasing the request", async () => {
    const { first, second, key } = await takenOver();
    expect(await rejection(service.release(first))).toMatchObject(leaseLost);
    expect((await stored(key)).locked_at).toEqual(second.locked_at);
  });

  test("is fenced off also when the other has finished or given up", async () => {
    const { first, second, key } = await takenOver();
    await impatient.workStage(second, () => answer);
    expect(await rejection(service.update(first, { response_code: 500 }))).toMatchObject(leaseLost);
    const late = jest.fn();
    expect(await service.workStage(first, late)).toMatchObject(answer);
    expect(late).not.toHaveBeenCalled();
    expect(await stored(key)).toMatchObject(answer);
  });

  test("goes on from where the other has left off, not from where it stood itself", async () => {
    const { first, second } = await takenOver();
    const paid = await impatient.workStage(second, () => ({ recovery_point: "paid" }));
    await rejection(impatient.workStage(paid, () => Promise.reject(new Error("no"))));
    const late = jest.fn();
    const current = await service.workStage(first, late);
    expect(late).not.toHaveBeenCalled();
    expect(current.recovery_point).toBe("paid");
    expect((await service.workStage(current, () => answer)).recovery_point).toBe("finished");
  });
});

describe("lock", () => {
  test.each(places)(
    "takes over the lease of the flow that has just begun, once: %s",
    async (_, place) => {
      const first = await begin(service);
      const locked = await place((bound) => bound.lock(first));
      expect(locked.locked_at.getTime()).toBeGreaterThanOrEqual(first.locked_at.getTime());
      expect(await rejection(place((bound) => bound.lock(first)))).toMatchObject({
        type: "conflict",
        message: "Key already locked",
      });
      expect((await service.workStage(first, () => answer)).recovery_point).toBe("finished");
    },
  );

  test("by its text is the flow's of the process", async () => {
    const { idempotency_key: key } = await begin(service);
    expect((await service.lock(key)).idempotency_key).toBe(key);
    expect(await rejection(service.lock(key))).toMatchObject({ type: "conflict" });
  });

  test("is not the flow's any more after a stage", async () => {
    const first = await begin(service);
    await service.workStage(first, () => ({ recovery_point: "paid" }));
    expect(await rejection(service.lock(first))).toMatchObject({ type: "conflict" });
  });

  test("makes a request wait for its lease", async () => {
    const { idempotency_key: key } = await service.create({});
    await service.lock(key);
    expect(await rejection(begin(service, key))).toMatchObject(inUse);
    expect((await service.workStage(key, () => answer)).recovery_point).toBe("finished");
  });

  test("of 64 callers at once one wins", async () => {
    const others = database.service({ maxConnections: 8 });
    for (let round = 0; round < 300; round += 1) {
      // Every second key has a lease that its flow may take over, once.
      const { idempotency_key: key } = await (round % 2 === 0
        ? service.create({})
        : begin(service));
      const calls = Array.from({ length: 64 }, (_, index) =>
        (index % 2 === 0 ? service : others).lock(key),
      );
      expect(await settled(calls)).toEqual({ won: 1, codes: ["conflict"] });
    }
  });
});

describe('mode "medusa"', () => {
  let medusa;

  beforeAll(() => {
    medusa = database.service({ mode: "medusa" });
  });

  test("replaces an unknown key, and gives it no lease", async () => {
    const key = await begin(medusa, "unknown");
    expect(key).toMatchObject({ idempotency_key: expect.not.stringMatching("unknown") });
    expect(key.locked_at).toBeNull();
  });

  test("lets any number of requests have a key, whichever they are", async () => {
    const { idempotency_key: key } = await begin(medusa, "");
    expect((await begin(medusa, key)).locked_at).toBeNull();
    expect((await medusa.initializeRequest(key, "PUT", {}, "/other")).request_method).toBe("POST");
  });

  test("takes what no client may send", async () => {
    const key = await medusa.create({ idempotency_key: "schlüssel mit leerzeichen" });
    expect(await begin(medusa, key.idempotency_key)).toEqual(key);
  });

  test("runs a finished key again, by its text and by an old object", async () => {
    const first = await begin(medusa, "");
    await medusa.workStage(first, () => answer);
    const again = await medusa.workStage(first, () => ({ response_code: 202 }));
    expect(again.response_code).toBe(202);
    const third = await medusa.workStage(first.idempotency_key, () => ({ response_code: 203 }));
    expect(third).toMatchObject({ response_code: 203, locked_at: null });
  });

  test("leaves the lock as it is when a stage fails and when it finishes", async () => {
    const { idempotency_key: key } = await begin(medusa, "");
    const { locked_at } = await medusa.lock(key);
    await rejection(medusa.workStage(key, () => Promise.reject(new Error("no"))));
    expect((await stored(key)).locked_at).toEqual(locked_at);
    expect((await medusa.workStage(key, () => answer)).locked_at).toEqual(locked_at);
  });

  test("waits for the other stage of a key", async () => {
    const { idempotency_key: key } = await begin(medusa, "");
    const stages = [1, 2, 3].map((name) =>
      medusa.workStage(key, async (manager) => {
        await insert(manager, name);
        return {};
      }),
    );
    await Promise.all(stages);
    expect(await effects()).toHaveLength(3);
  });
});
