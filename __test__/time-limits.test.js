"use strict";

// No call waits for longer than its options say, whatever the others wait for.

const { randomUUID } = require("node:crypto");
const net = require("node:net");
const { setTimeout: sleep } = require("node:timers/promises");
const { useDatabase, rejection } = require("./helpers/database");
const { startProxy } = require("./helpers/proxy");

const database = useDatabase();
const closing = [];

afterEach(async () => {
  for (const close of closing.splice(0)) {
    await close();
  }
});

function service(options) {
  const opened = database.service(options);
  closing.push(() => opened.close());
  return opened;
}

/** A role of the test's own, with settings of its own. */
async function urlOfRole(sql) {
  const role = `role_${randomUUID().replaceAll("-", "")}`;
  await database.pool.query(`CREATE ROLE ${role} LOGIN SUPERUSER`);
  await database.pool.query(sql.replaceAll("@role", role));
  closing.push(() => database.pool.query(`DROP ROLE ${role}`));
  const url = new URL(database.url);
  url.username = role;
  return url.href;
}

/** Something that takes connections, and never says a word. */
async function silentServer() {
  const sockets = new Set();
  const server = net.createServer((socket) => sockets.add(socket.on("error", () => {})));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    sockets.forEach((socket) => socket.destroy());
    return new Promise((resolve) => server.close(resolve));
  });
  const url = new URL(database.url);
  url.port = server.address().port;
  return url.href;
}

test("calls of all kinds are answered within connectTimeout where nobody answers", async () => {
  const databaseUrl = await silentServer();
  const silent = service({ databaseUrl, connectTimeout: 500 });
  const begun = performance.now();
  const kinds = [
    (key) => silent.create({ idempotency_key: key }),
    (key) => silent.create({ idempotency_key: key, request_path: "/" }),
    (key) => silent.initializeRequest(key, "POST", {}, "/"),
    (key) => silent.retrieve(key),
    (key) => silent.lock(key),
    (key) => silent.update(key, { response_code: 200 }),
    (key) => silent.update(key, { recovery_point: "paid" }),
    (key) => silent.update(key, { response_body: {} }),
    (key) => silent.retrieve({ request_path: key }),
    (key) => silent.workStage(key, () => ({})),
  ];
  const calls = kinds.flatMap((call) =>
    Array.from({ length: 40 }, (_, index) => call(`k${index}`)),
  );
  for (const error of await Promise.all(calls.map(rejection))) {
    expect(error).toMatchObject({ code: "ETIMEDOUT", statusCode: 503 });
  }
  // One kind after the other, or four stages after the others, they would take five seconds.
  expect(performance.now() - begun).toBeLessThan(2_500);
});

test("release() is tried once where nobody answers any more", async () => {
  const proxy = await startProxy(database.url);
  closing.push(() => proxy.close());
  const silent = service({ databaseUrl: proxy.url, connectTimeout: 500, statementTimeout: 500 });
  const { idempotency_key: key } = await silent.initializeRequest(undefined, "POST", {}, "/");
  proxy.freeze();
  const begun = performance.now();
  expect(await rejection(silent.release(key))).toMatchObject({ code: "ETIMEDOUT" });
  // Each of its tries takes half a second.
  expect(performance.now() - begun).toBeLessThan(2_000);
});

test("a stage waits for its turn for as long as acquireTimeout says", async () => {
  const stages = async (options) => {
    const one = service({ maxConnections: 1, ...options });
    const keys = await Promise.all(Array.from({ length: 8 }, () => one.create({})));
    const work = async () => {
      await sleep(100);
      return { recovery_point: "paid" };
    };
    const calls = keys.map(({ idempotency_key }) => one.workStage(idempotency_key, work));
    return Promise.allSettled(calls);
  };
  const patient = await stages({ acquireTimeout: "1m" });
  expect(patient.map(({ status }) => status)).toEqual(Array(8).fill("fulfilled"));
  const refused = (await stages({ acquireTimeout: 50 })).filter(
    ({ status }) => status === "rejected",
  );
  expect(refused.length).toBeGreaterThan(0);
  for (const { reason } of refused) {
    expect(reason).toMatchObject({
      code: "stages_exhausted",
      message: expect.stringContaining("acquireTimeout"),
    });
  }
});

test("a statement that has no answer within statementTimeout is told so", async () => {
  await database.pool.query(`
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
    CREATE TRIGGER dawdle BEFORE INSERT ON idempotency_key FOR EACH ROW
    WHEN (NEW.request_path = '/slow') EXECUTE FUNCTION dawdle()`);
  const hasty = service({ statementTimeout: 200 });
  expect(await rejection(hasty.create({ request_path: "/slow" }))).toMatchObject({
    code: "ETIMEDOUT",
    message: expect.stringContaining("statementTimeout"),
  });
  await hasty.create({});
  await database.until(`(SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) = 0
    FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')`);
  await database.pool.query("DROP FUNCTION dawdle CASCADE");
});

test("where the server has no room for a further connection a call waits for one that there is", async () => {
  const databaseUrl = await urlOfRole(
    "ALTER ROLE @role NOSUPERUSER CONNECTION LIMIT 2; GRANT ALL ON idempotency_key TO @role",
  );
  const limited = service({ databaseUrl, maxConnections: 6 });
  const keys = await Promise.all(Array.from({ length: 12 }, () => limited.create({})));
  const calls = keys.map(({ idempotency_key }) =>
    limited.workStage(idempotency_key, async (manager) => {
      await manager.query("SELECT pg_sleep(0.02)");
      return { recovery_point: "paid" };
    }),
  );
  for (const key of await Promise.all(calls)) {
    expect(key).toMatchObject({ recovery_point: "paid" });
  }
  await database.pool.query(`REVOKE ALL ON idempotency_key FROM ${new URL(databaseUrl).username}`);
});

test.each(["serializable", "repeatable read"])(
  "single calls of a role whose transactions are %s do not clash",
  async (isolation) => {
    const url = await urlOfRole(
      `ALTER ROLE @role SET default_transaction_isolation = '${isolation}'`,
    );
    // Two that clash do so in some rounds only; the isolation of each statement shows in all of them.
    await database.pool.query(`CREATE OR REPLACE FUNCTION refuse_other_isolation() RETURNS trigger
      LANGUAGE plpgsql AS $$ BEGIN
        ASSERT current_setting('transaction_isolation') = 'read committed';
        RETURN NEW;
      END $$`);
    await database.pool.query(`CREATE TRIGGER isolation BEFORE INSERT OR UPDATE
      ON idempotency_key FOR EACH ROW EXECUTE FUNCTION refuse_other_isolation()`);
    // Pools of their own, as in two processes.
    const racers = ["a", "b"].map((name) =>
      service({ databaseUrl: `${url}?application_name=${name}` }),
    );
    for (let round = 0; round < 20; round += 1) {
      const keys = Array.from(
        { length: 20 },
        (_, index) => `${isolation.length}-${round}-${index}`,
      );
      const of = (call) => racers.flatMap((racer) => keys.map((key) => call(racer, key)));
      const begun = await Promise.allSettled(
        of((racer, key) => racer.initializeRequest(key, "POST", {}, "/")),
      );
      expect(begun.filter(({ status }) => status === "fulfilled")).toHaveLength(keys.length);
      await Promise.all(of((racer, key) => racer.update(key, { response_code: 200 })));
      const locks = await Promise.allSettled(of((racer, key) => racer.lock(key)));
      for (const { reason } of locks.filter(({ status }) => status === "rejected")) {
        expect(reason).toMatchObject({ type: "conflict" });
        expect(reason.code).not.toBe("40001");
      }
    }
    await database.pool.query("DROP TRIGGER isolation ON idempotency_key");
  },
);

test("a session asks the server to notice when its process's machine has gone", async () => {
  const [row] = await service({}).atomicPhase_((manager) =>
    manager.query(`SELECT current_setting('tcp_keepalives_idle')::int AS idle,
      current_setting('tcp_keepalives_interval')::int AS interval,
      current_setting('tcp_keepalives_count')::int AS count`),
  );
  expect(row.idle + row.interval * row.count).toBeLessThanOrEqual(60);
});
