"use strict";

// A request that begins with its first stage: one transaction inserts its key and does the work.

const { randomUUID } = require("node:crypto");
const { IdempotencyKeyService } = require("..");
const { rejection, useDatabase } = require("./helpers/database");
const { inUse, openTypeOrm, reused, signal } = require("./helpers/flows");

const database = useDatabase();
let services;

beforeAll(async () => {
  const { service } = await openTypeOrm(database);
  await database.pool.query("CREATE TABLE effect (name text)");
  // Each makes a service with options; `typeOrm` opens transactions through its manager.
  services = { pool: (options) => database.service(options), typeOrm: service };
});

beforeEach(() => database.pool.query("TRUNCATE effect"));

const request = (key = randomUUID(), path = "/pay") => ({ key, method: "POST", params: {}, path });
const body = { paid: true };
const finished = { response_code: 201, response_body: body };

async function rowsOf(key) {
  const sql = "SELECT *, xmin::text AS version FROM idempotency_key WHERE idempotency_key = $1";
  return (await database.pool.query(sql, [key])).rows;
}

async function effects() {
  return (await database.pool.query("SELECT name, xmin::text AS version FROM effect")).rows;
}

/** A request that has begun, with a lease since then, if at all. */
async function begunAt(lockedAt) {
  const given = request();
  const sql = `INSERT INTO idempotency_key
    (id, idempotency_key, request_method, request_params, request_path, locked_at)
    VALUES ($1, $1, 'POST', '{}', '/pay', $2)`;
  await database.pool.query(sql, [given.key, lockedAt]);
  return given;
}

const work = async (manager) => {
  await manager.query("INSERT INTO effect VALUES ($1)", ["paid"]);
  return finished;
};

/** A stage that stops in the middle until it is let go on. */
function held() {
  const inside = signal();
  const goOn = signal();
  const stage = async (manager, key) => {
    inside.send(key);
    await goOn.sent;
    return work(manager, key);
  };
  return { stage, inside: inside.sent, goOn: goOn.send };
}

describe.each(["pool", "typeOrm"])("with a service of %s", (kind) => {
  const open = (options) => services[kind](options);

  test("key, work and answer are one transaction, which nobody sees before its end", async () => {
    const { stage, inside, goOn } = held();
    const given = request();
    const result = open().runStages(given, { started: stage });
    expect(await inside).toMatchObject({
      idempotency_key: given.key,
      recovery_point: "started",
      request_method: "POST",
      request_params: {},
    });
    expect(await rowsOf(given.key)).toEqual([]);
    goOn();
    expect(await result).toEqual({
      idempotency_key: given.key,
      ...finished,
      replayed: false,
      began: "new",
    });
    const [row] = await rowsOf(given.key);
    expect(row).toMatchObject({ recovery_point: "finished", locked_at: null, ...finished });
    expect(await effects()).toEqual([{ name: "paid", version: row.version }]);
  });

  test("of several stages each is one transaction, of which the first has the key", async () => {
    const given = request();
    const seen = [];
    await open().runStages(given, {
      started: async (manager) => {
        await work(manager);
        return { recovery_point: "paid" };
      },
      paid: async () => {
        seen.push(...(await rowsOf(given.key)));
        return finished;
      },
    });
    const [{ version }] = await effects();
    expect(seen).toMatchObject([{ recovery_point: "paid", version }]);
  });

  test("a first stage that fails leaves nothing, and its retry is new", async () => {
    const given = request();
    const failure = new Error("declined");
    const failing = async (manager) => {
      await work(manager);
      throw failure;
    };
    const service = open();
    expect(await rejection(service.runStages(given, { started: failing }))).toBe(failure);
    expect(await rowsOf(given.key)).toEqual([]);
    const began = jest.fn();
    await service.runStages(given, {
      started: (manager, key, attempt) => {
        began(attempt.began);
        return work(manager);
      },
    });
    expect(began).toHaveBeenCalledWith("new");
    expect(await effects()).toHaveLength(1);
  });

  test("a duplicate is refused while the first stage works, by its process and by another", async () => {
    const { stage, inside, goOn } = held();
    const given = request();
    const service = open();
    const result = service.runStages(given, { started: stage });
    await inside;
    // Another pool is as another process.
    for (const other of [service, open({ maxConnections: 2 })]) {
      const duplicate = other.runStages(given, { started: work });
      expect(await rejection(duplicate)).toMatchObject({ ...inUse, status: 409 });
    }
    goOn();
    await result;
    const duplicate = service.runStages({ ...given, path: "/other" }, { started: work });
    expect(await rejection(duplicate)).toMatchObject(reused);
    expect(await effects()).toHaveLength(1);
  });

  test("200 duplicates that wait leave the connections to others, and get the answer", async () => {
    const { stage, inside, goOn } = held();
    const given = request();
    const waiting = open({ waitTimeout: 30_000, maxConnections: 2 });
    const first = waiting.runStages(given, { started: stage });
    await inside;
    const duplicates = Array.from({ length: 200 }, () =>
      waiting.runStages(given, { started: work }),
    );
    for (let index = 0; index < 10; index += 1) {
      await waiting.runStages(request(), { started: () => finished });
    }
    goOn();
    const answers = await Promise.all([first, ...duplicates]);
    expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
    for (const answer of answers) {
      expect(answer).toMatchObject({ idempotency_key: given.key, ...finished });
    }
    expect(await effects()).toHaveLength(1);
  });

  test("who waits begins the request if the first one fails, or gives up in time", async () => {
    const given = request();
    const inside = signal();
    const fail = signal();
    const failing = open().runStages(given, {
      started: async () => {
        inside.send();
        await fail.sent;
        throw new Error("declined");
      },
    });
    failing.catch(() => {});
    await inside.sent;
    const impatient = open({ waitTimeout: 100 });
    expect(await rejection(impatient.runStages(given, { started: work }))).toMatchObject(inUse);
    const heir = open({ waitTimeout: 30_000 }).runStages(given, { started: work });
    fail.send();
    expect(await heir).toMatchObject({ replayed: false, began: "new", ...finished });
    expect(await effects()).toHaveLength(1);
  });

  test("in a burst of retries each request becomes what it would become alone", async () => {
    const service = open();
    const answered = request();
    await service.runStages(answered, { started: work });
    // Keys are looked for before they are inserted while that finds them.
    for (let retry = 0; retry < 10; retry++) {
      expect(await service.runStages(answered, {})).toMatchObject({ began: "finished" });
    }
    for (const [began, given] of [
      ["new", request()],
      ["released", await begunAt(null)],
      ["interrupted", await begunAt(new Date(0))],
    ]) {
      const started = jest.fn((manager) => work(manager));
      expect(await service.runStages(given, { started })).toMatchObject({ began, ...finished });
      expect(started).toHaveBeenCalledTimes(1);
    }
    const inProgress = await begunAt(new Date(Date.now() + 3_600_000));
    expect(await rejection(service.runStages(inProgress, {}))).toMatchObject(inUse);
    const other = request(answered.key, "/refund");
    expect(await rejection(service.runStages(other, {}))).toMatchObject(reused);
    expect(await effects()).toHaveLength(4);
  });

  test("the stage can use its key within the transaction", async () => {
    const given = request();
    const service = open();
    await service.runStages(given, {
      started: async (manager, key) => {
        const bound = service.withTransaction(manager);
        expect(await bound.retrieve(given.key)).toMatchObject({ id: key.id });
        await bound.update(key, { response_code: 102 });
        return work(manager);
      },
    });
    expect(await rowsOf(given.key)).toMatchObject([{ recovery_point: "finished", ...finished }]);
  });

  test("a key that was committed meanwhile is in use, and its request is not begun", async () => {
    const given = request();
    const service = open();
    const begun = await database.service().initializeRequest(given.key, "POST", {}, "/pay");
    expect(await rejection(service.runStages(given, { started: work }))).toMatchObject(inUse);
    await database.service().release(begun);
    expect(await service.runStages(given, { started: work })).toMatchObject({ began: "released" });
  });

  test.each([
    ["commitKeyFirst", { commitKeyFirst: true }],
    ["onInterrupted", { onInterrupted: "refuse" }],
  ])("with %s the key is seen from the first moment", async (name, options) => {
    const { stage, inside, goOn } = held();
    const given = request();
    const result = open(options).runStages(given, { started: stage });
    await inside;
    expect(await rowsOf(given.key)).toMatchObject([{ recovery_point: "started" }]);
    goOn();
    await result;
    expect(await effects()).toHaveLength(1);
  });
});

test("a transaction that is repeated inserts its key again", async () => {
  const given = request();
  let times = 0;
  const result = await database.service().runStages(given, {
    started: async (manager) => {
      times += 1;
      if (times < 3) {
        throw Object.assign(new Error("clash"), { code: "40001" });
      }
      return work(manager);
    },
  });
  expect(result).toMatchObject({ replayed: false, ...finished });
  expect(times).toBe(3);
  expect(await effects()).toHaveLength(1);
});

test("a request without a key begins with its first stage, too", async () => {
  const { stage, inside, goOn } = held();
  const result = database.service().runStages({ method: "POST" }, { started: stage });
  const { idempotency_key: key } = await inside;
  expect(await rowsOf(key)).toEqual([]);
  goOn();
  expect(await result).toMatchObject({ idempotency_key: key, ...finished });
});

test("requests without a key have nothing to do with each other", async () => {
  const service = database.service();
  const calls = Array.from({ length: 16 }, () => service.runStages({}, { started: work }));
  const keys = (await Promise.all(calls)).map(({ idempotency_key: key }) => key);
  expect(new Set(keys).size).toBe(16);
  expect(await effects()).toHaveLength(16);
});

test("a known request goes on where the table refuses new keys", async () => {
  const given = request();
  const service = database.service();
  await service.runStages(given, { started: work });
  const begun = await Promise.all([null, new Date(0), null, new Date(0)].map(begunAt));
  await database.pool.query(`ALTER TABLE idempotency_key ADD COLUMN shop text NOT NULL DEFAULT 'a';
    ALTER TABLE idempotency_key ALTER COLUMN shop DROP DEFAULT`);
  try {
    expect(await rejection(service.runStages(request(), { started: work }))).toMatchObject({
      code: "23502",
    });
    expect(await service.runStages(given, { started: work })).toMatchObject({ replayed: true });
    for (const known of begun) {
      expect(await service.runStages(known, { started: work })).toMatchObject(finished);
    }
  } finally {
    await database.pool.query("ALTER TABLE idempotency_key DROP COLUMN shop");
  }
});

test("one key in two schemas is two requests", async () => {
  const other = database.service({ schema: "other" });
  await other.migrate();
  const { stage, inside, goOn } = held();
  const given = request();
  const first = other.runStages(given, { started: stage });
  await inside;
  expect(await database.service().runStages(given, { started: work })).toMatchObject(finished);
  goOn();
  await first;
  expect(await effects()).toHaveLength(2);
});

test("a key that a caller's own transaction has inserted is waited for without a connection", async () => {
  const given = request();
  const service = database.service();
  const databaseUrl = `${database.url}?options=${encodeURIComponent("-c lock_timeout=400")}`;
  const impatient = database.service({ databaseUrl, maxConnections: 1 });
  await service.atomicPhase_(async (manager) => {
    await service.withTransaction(manager).initializeRequest(given.key, "POST", {}, "/pay");
    const duplicates = [1, 2].map(() => impatient.runStages(given, { started: work }));
    const settled = Promise.allSettled(duplicates);
    await impatient.runStages(request(), { started: () => finished });
    for (const { reason } of await settled) {
      expect(reason).toMatchObject({ type: "conflict", status: 409 });
    }
  });
  expect(await effects()).toEqual([]);
});

test("64 racers in three pools do the work once", async () => {
  const pools = [2, 3, 4].map((maxConnections) =>
    database.service({ maxConnections, waitTimeout: 30_000 }),
  );
  for (let round = 0; round < 5; round += 1) {
    const given = request();
    const racers = Array.from({ length: 64 }, (_, index) =>
      pools[index % 3].runStages(given, { started: work }),
    );
    const answers = await Promise.all(racers);
    expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
  }
  expect(await effects()).toHaveLength(5);
});

test("commitKeyFirst has to be true or false", () => {
  expect(() => new IdempotencyKeyService({}, { commitKeyFirst: "yes" })).toThrow(
    "commitKeyFirst has to be true or false, not 'yes'",
  );
});
