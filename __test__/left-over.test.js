"use strict";

const { randomUUID } = require("node:crypto");
const { rejection, useDatabase } = require("./helpers/database");
const { begin, eventually, signal, sleep } = require("./helpers/flows");

const database = useDatabase();
let service;

beforeAll(() => {
  service = database.service();
});

beforeEach(() => database.pool.query("TRUNCATE idempotency_key"));

const HOUR = 3_600_000;

/** Makes a key whose request came so many hours ago. */
async function keyOf(hours, columns = {}) {
  const key = await service.create({
    created_at: new Date(Date.now() - hours * HOUR),
    ...columns,
  });
  return key.idempotency_key;
}

/** Makes many keys at once, half of which are finished. */
function manyKeys(count) {
  return database.pool.query(
    `INSERT INTO idempotency_key (id, idempotency_key, created_at, recovery_point)
     SELECT 'id_' || n, 'many_' || n, now() - interval '100 hours',
            CASE n % 2 WHEN 0 THEN 'finished' ELSE 'paid' END
     FROM generate_series(1, $1::int) n`,
    [count],
  );
}

async function keys() {
  const sql = "SELECT idempotency_key FROM idempotency_key ORDER BY 1";
  return (await database.pool.query(sql)).rows.map((row) => row.idempotency_key);
}

async function count() {
  return (await keys()).length;
}

const notDurations = [
  ["text that is none", "soon"],
  ["empty text", ""],
  ["a negative number", -1],
  ["a negative text", "-1h"],
  ["NaN", NaN],
  ["Infinity", Infinity],
  ["an object", {}],
  ["a boolean", true],
  ["a bigint", 1n],
  ["long text", `${"1".repeat(200)}h`],
];

describe("listStalled", () => {
  test("answers unfinished keys that nobody works on, the oldest first", async () => {
    const second = await keyOf(2, { recovery_point: "paid" });
    const first = await keyOf(3);
    await keyOf(4, { recovery_point: "finished" });
    await keyOf(0);
    await begin(service);
    const stalled = await service.listStalled({ olderThan: "1h" });
    expect(stalled.map((key) => key.idempotency_key)).toEqual([first, second]);
    expect(stalled[1]).toStrictEqual(await service.retrieve(second));
  });

  test("counts from the last sign of life", async () => {
    const ago = (hours) => new Date(Date.now() - hours * HOUR);
    await keyOf(5, { locked_at: ago(1) });
    const silent = await keyOf(5, { locked_at: ago(3) });
    const stalled = await service.listStalled({ olderThan: 2 * HOUR });
    expect(stalled.map((key) => key.idempotency_key)).toEqual([silent]);
    expect(await service.listStalled({ olderThan: "30m" })).toHaveLength(2);
  });

  test("without options answers what has been silent for longer than a lease", async () => {
    const key = await keyOf(1);
    const { idempotency_key: busy } = await begin(service);
    expect(await service.listStalled()).toMatchObject([{ idempotency_key: key }]);
    const impatient = database.service({ leaseTimeout: 50 });
    await sleep(100);
    const all = (await impatient.listStalled({})).map((each) => each.idempotency_key);
    expect(all).toEqual([key, busy]);
  });

  test("leaves out what has a lease, however short the time asked for", async () => {
    await begin(service);
    await sleep(20);
    expect(await service.listStalled({ olderThan: 0 })).toEqual([]);
    expect(await service.listStalled({ olderThan: "10ms" })).toEqual([]);
  });

  test("answers as many as asked for", async () => {
    await manyKeys(300);
    expect(await service.listStalled()).toHaveLength(100);
    expect(await service.listStalled({ limit: 7 })).toHaveLength(7);
    expect(await service.listStalled({ limit: 10_000 })).toHaveLength(150);
  });

  test.each([0, -1, 1.5, "10", NaN, 10_001, 1n])("refuses the limit %p", async (limit) => {
    expect(await rejection(service.listStalled({ limit }))).toMatchObject({
      type: "invalid_argument",
    });
  });

  test.each(notDurations)("refuses what is no duration: %s", async (_, olderThan) => {
    expect(await rejection(service.listStalled({ olderThan }))).toMatchObject({
      type: "invalid_argument",
    });
  });

  test.each([["text"], [[]], [{ olderthan: 1 }]])(
    "refuses what are no options: %p",
    async (options) => {
      expect(await rejection(service.listStalled(options))).toMatchObject({
        type: "invalid_argument",
      });
    },
  );
});

describe("prune", () => {
  test.each([
    ["text", "72h"],
    ["milliseconds", 72 * HOUR],
    ["text in words", "3 days"],
  ])("deletes finished keys that are older: %s", async (_, olderThan) => {
    await keyOf(73, { recovery_point: "finished" });
    await keyOf(100, { recovery_point: "finished" });
    const left = [
      await keyOf(71, { recovery_point: "finished" }),
      await keyOf(100),
      await keyOf(100, { recovery_point: "paid" }),
    ];
    expect(await service.prune({ olderThan })).toBe(2);
    expect(await keys()).toEqual(left.sort());
    expect(await service.prune({ olderThan })).toBe(0);
  });

  test("leaves what somebody has locked, and does not wait for it", async () => {
    const key = await keyOf(100, { recovery_point: "finished" });
    await keyOf(100, { recovery_point: "finished" });
    const client = await database.pool.connect();
    await client.query("BEGIN");
    await client.query("SELECT FROM idempotency_key WHERE idempotency_key = $1 FOR UPDATE", [key]);
    expect(await service.prune({ olderThan: "72h" })).toBe(1);
    await client.query("ROLLBACK");
    client.release();
    expect(await keys()).toEqual([key]);
    expect(await service.prune({ olderThan: "72h" })).toBe(1);
  });

  test("a key that was pruned is a new one", async () => {
    const { idempotency_key: key } = await begin(service);
    await service.workStage(key, () => ({ response_code: 200 }));
    await sleep(5);
    expect(await service.prune({ olderThan: 1 })).toBe(1);
    expect(await begin(service, key)).toMatchObject({ recovery_point: "started" });
  });

  test("several services share the work", async () => {
    await manyKeys(4000);
    const others = [1, 2, 3].map((maxConnections) => database.service({ maxConnections }));
    const counts = await Promise.all(
      [service, ...others].map((each) => each.prune({ olderThan: "72h", batchSize: 100 })),
    );
    expect(counts.reduce((sum, each) => sum + each)).toBe(2000);
    expect(await count()).toBe(2000);
  });

  test("requests go on while many thousand keys are deleted", async () => {
    await manyKeys(40_000);
    await database.pool.query(
      `CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN PERFORM pg_advisory_xact_lock(13); RETURN NULL; END';
       CREATE TRIGGER meet AFTER DELETE ON idempotency_key EXECUTE FUNCTION meet()`,
    );
    const gate = await database.pool.connect();
    await gate.query("SELECT pg_advisory_lock(13)");
    const prune = service.prune({ olderThan: "72h" });
    // A batch is deleted, and not committed.
    await database.untilBlocked();
    for (let request = 0; request < 3; request += 1) {
      const key = await begin(service);
      await service.workStage(key, () => ({ response_code: 200 }));
    }
    await database.untilBlocked();
    await gate.query("SELECT pg_advisory_unlock(13)");
    gate.release();
    expect(await prune).toBe(20_000);
    expect(await count()).toBe(20_000 + 3);
    await database.pool.query("DROP TRIGGER meet ON idempotency_key; DROP FUNCTION meet");
  });

  test.each([1, 7, 100_000])("in batches of %p", async (batchSize) => {
    await manyKeys(500);
    expect(await service.prune({ olderThan: "72h", batchSize })).toBe(250);
  });

  test("takes the option retention where no time is given", async () => {
    await keyOf(3, { recovery_point: "finished" });
    const { idempotency_key: young } = await service.create({ recovery_point: "finished" });
    expect(await rejection(service.prune())).toMatchObject({ type: "invalid_argument" });
    expect(await count()).toBe(2);
    const keeping = database.service({ retention: "2h", maxConnections: 5 });
    await keeping.prune();
    expect(await eventually(async () => (await keys()).length === 1)).toBe(true);
    expect(await keys()).toEqual([young]);
    await keeping.close();
  });

  test.each(notDurations)("refuses what is no duration: %s", async (_, olderThan) => {
    const error = await rejection(service.prune({ olderThan }));
    expect(error).toMatchObject({ type: "invalid_argument" });
    expect(error.message).toContain("olderThan");
  });

  test.each([0, -1, 1.5, "10", 100_001])("refuses the batch size %p", async (batchSize) => {
    expect(await rejection(service.prune({ olderThan: 1, batchSize }))).toMatchObject({
      type: "invalid_argument",
    });
  });

  test("an age beyond all times deletes nothing", async () => {
    await keyOf(100, { recovery_point: "finished" });
    for (const olderThan of ["10000y", "1000000y", Number.MAX_VALUE]) {
      const outcome = await service.prune({ olderThan }).catch((error) => error);
      expect([0, "invalid_argument"]).toContain(outcome.type ?? outcome);
    }
    expect(await count()).toBe(1);
  });
});

describe("the option retention", () => {
  const finished = () => keyOf(100, { recovery_point: "finished" });
  let keeping = [];
  let restore;

  /** The URL of a test, whose services share their connections with no others. */
  let databaseUrl;
  let urls = 0;

  function keep(options) {
    const kept = database.service({ databaseUrl, ...options });
    keeping.push(kept);
    return kept;
  }

  beforeEach(() => {
    urls += 1;
    databaseUrl = `${database.url}?application_name=keeping_${urls}`;
    jest.useFakeTimers({
      doNotFake: [
        "nextTick",
        "setImmediate",
        "setTimeout",
        "Date",
        "hrtime",
        "performance",
        "queueMicrotask",
        "clearTimeout",
        "clearImmediate",
      ],
    });
  });

  afterEach(async () => {
    jest.useRealTimers();
    await restore?.();
    restore = undefined;
    await Promise.all(keeping.map((each) => each.close()));
    keeping = [];
  });

  const none = () => eventually(async () => (await count()) === 0);

  test("is off by default", async () => {
    await finished();
    const other = keep({});
    await other.listStalled();
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(10 * HOUR);
    // It waits for what has begun.
    await other.close();
    expect(await count()).toBe(1);
  });

  test("prunes in the background, from the first call on, again and again", async () => {
    await finished();
    // Closing waits for what has begun.
    await keep({ retention: "72h" }).close();
    expect(await count()).toBe(1);
    const kept = keep({ retention: "72h" });
    expect(jest.getTimerCount()).toBe(0);
    await kept.listStalled();
    expect(await none()).toBe(true);
    for (let round = 0; round < 2; round += 1) {
      await finished();
      jest.advanceTimersByTime(HOUR);
      expect(await none()).toBe(true);
    }
  });

  test("ends with close()", async () => {
    const kept = keep({ retention: "72h" });
    await kept.listStalled();
    expect(jest.getTimerCount()).toBe(1);
    await kept.close();
    await finished();
    jest.advanceTimersByTime(10 * HOUR);
    // The timer has found the service closed, and is gone.
    expect(jest.getTimerCount()).toBe(0);
    expect(await count()).toBe(1);
  });

  test.each([
    ["that share their connections", 4],
    ["that have their own", 3],
  ])("goes on with the services that are left: %s", async (_, maxConnections) => {
    const first = keep({ retention: "72h" });
    const second = keep({ retention: "72h", maxConnections });
    await first.listStalled();
    await second.listStalled();
    expect(jest.getTimerCount()).toBe(1);
    await first.close();
    await second.listStalled();
    jest.advanceTimersByTime(HOUR);
    await second.listStalled();
    await finished();
    jest.advanceTimersByTime(HOUR);
    expect(await none()).toBe(true);
  });

  test("goes on after a round that has failed, and says why it did", async () => {
    const { IdempotencyKeyService } = require("..");
    const warn = jest.fn();
    await database.pool.query("ALTER TABLE idempotency_key RENAME TO gone");
    restore = () => database.pool.query("ALTER TABLE gone RENAME TO idempotency_key");
    const options = { databaseUrl, retention: "72h" };
    const kept = new IdempotencyKeyService({ logger: { warn } }, options);
    keeping.push(kept);
    await rejection(kept.listStalled());
    expect(await eventually(() => warn.mock.calls.length === 1)).toBe(true);
    expect(warn.mock.calls[0][0]).toContain("could not be pruned");
    await restore();
    restore = undefined;
    await finished();
    jest.advanceTimersByTime(HOUR);
    expect(await none()).toBe(true);
  });

  test.each(notDurations)(
    "is refused at construction where it is no duration: %s",
    (_, retention) => {
      expect(() => database.service({ retention })).toThrow(
        expect.objectContaining({ type: "invalid_argument", code: "invalid_option" }),
      );
    },
  );
});

test("a running request is never pruned or listed", async () => {
  const finish = signal();
  const inside = signal();
  const key = randomUUID();
  await begin(service, key);
  await database.pool.query("UPDATE idempotency_key SET created_at = now() - interval '1 year'");
  const stage = service.workStage(key, async () => {
    inside.send();
    await finish.sent;
    return { response_code: 200 };
  });
  await inside.sent;
  expect(await service.listStalled({ olderThan: 0 })).toEqual([]);
  expect(await service.prune({ olderThan: 0 })).toBe(0);
  finish.send();
  expect((await stage).recovery_point).toBe("finished");
  expect(await service.prune({ olderThan: 0 })).toBe(1);
});
