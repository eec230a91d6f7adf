"use strict";

const { randomUUID } = require("node:crypto");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService } = require("..");
const { rejection, useDatabase } = require("./helpers/database");
const { startProxy } = require("./helpers/proxy");

const database = useDatabase();

async function withService(databaseUrl, use, options = {}) {
  const service = new IdempotencyKeyService({}, { databaseUrl, ...options });
  try {
    return await use(service);
  } finally {
    await service.close();
  }
}

async function withProxy(use, options) {
  const proxy = await startProxy(database.url);
  try {
    return await withService(proxy.url, (service) => use(service, proxy), options);
  } finally {
    await proxy.close();
  }
}

function changed(change) {
  const url = new URL(database.url);
  change(url);
  return url.href;
}

/** Whether a backend sleeps; and whether none does any more: one that does is ended, as it notices no cut. */
const ASLEEP = `EXISTS (SELECT FROM pg_stat_activity
  WHERE datname = current_database() AND wait_event = 'PgSleep')`;
const WOKEN = `(SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) = 0 FROM pg_stat_activity
  WHERE datname = current_database() AND wait_event = 'PgSleep')`;

describe("trouble with the connection", () => {
  test("is said at once, with host, port and database and without the password", async () => {
    const url = changed((other) => {
      other.port = "1";
      other.password = "s3cret";
    });
    const started = Date.now();
    await withService(url, async (service) => {
      const { idempotency_key: key } = { idempotency_key: "k" };
      const calls = [
        service.create({}),
        service.initializeRequest("", "POST", {}, "/"),
        service.retrieve(key),
        service.retrieve({ id: "x" }),
        service.lock(key),
        service.update(key, { response_code: 1 }),
        service.workStage(key, () => ({})),
        service.atomicPhase_(() => {}),
        service.migrate(),
      ];
      for (const call of calls) {
        const error = await rejection(call);
        expect(error).toBeInstanceOf(Error);
        expect(error.code).toBe("ECONNREFUSED");
        expect(error.message).toContain(
          `127.0.0.1:1, database "${new URL(url).pathname.slice(1)}"`,
        );
        expect(`${error.message} ${error.stack} ${JSON.stringify(error)}`).not.toContain("s3cret");
      }
    });
    expect(Date.now() - started).toBeLessThan(5_000);
  });

  test("with a database that does not exist has its SQLSTATE", async () => {
    const url = changed((other) => (other.pathname = "/no_such_database"));
    const error = await withService(url, (service) => rejection(service.retrieve("k")));
    expect(error.code).toBe("3D000");
    expect(error.message).toContain('database "no_such_database"');
  });

  test("with a host that does not exist is said so", async () => {
    const url = "postgres://me:s3cret@no-such-host.invalid:5432/shop";
    const error = await withService(url, (service) => rejection(service.retrieve("k")));
    expect(error.code).toBe("ENOTFOUND");
    expect(error.message).toContain("no-such-host.invalid:5432");
    expect(error.message).not.toContain("s3cret");
  });

  test("in the middle of a call rejects it, and the next call works", async () => {
    await withProxy(async (service, proxy) => {
      await service.create({});
      const { idempotency_key: key } = await service.create({});
      const stage = service.workStage(key, async (manager) => {
        const sleeping = manager.query("SELECT pg_sleep(60)");
        await Promise.all([rejection(sleeping), database.until(ASLEEP).then(proxy.cut)]);
        await database.until(WOKEN);
        await sleeping;
        return {};
      });
      const error = await rejection(stage);
      expect(["ECONNRESET", "08006", "EPIPE"]).toContain(error.code);
      expect(error.message).toContain("127.0.0.1");
      expect((await service.retrieve(key)).recovery_point).toBe("started");
    });
  });

  test("that cannot be opened again does not hold up the answer of a failed request", async () => {
    await withProxy(async (service, proxy) => {
      await service.create({});
      let lostAt;
      const request = service.runStages(
        {},
        {
          started: async (manager) => {
            proxy.refuse();
            proxy.cut();
            lostAt = performance.now();
            await manager.query("SELECT 1");
          },
        },
      );
      expect(await rejection(request)).toMatchObject({ statusCode: 503 });
      expect(performance.now() - lostAt).toBeLessThan(2_500);
    });
  });

  test("during COMMIT says that the outcome is unknown", async () => {
    await database.pool.query("CREATE TABLE slow_commit (id int)");
    await database.pool.query(`
      CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';
      CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON slow_commit
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()`);
    await withProxy(async (service, proxy) => {
      const { idempotency_key: key } = await service.create({});
      const stage = service.workStage(key, async (manager) => {
        await manager.query("INSERT INTO slow_commit VALUES (1)");
        return {};
      });
      // The transaction is at its COMMIT when the trigger runs.
      await Promise.all([rejection(stage), database.until(ASLEEP).then(proxy.cut)]);
      expect(await rejection(stage)).toMatchObject({
        code: "08007",
        message: expect.stringContaining("unknown"),
      });
      await database.until(WOKEN);
    });
  });

  describe("of which nothing is heard", () => {
    /** So that the server is asked soon whether it works on the statement. */
    const options = { connectTimeout: 300, maxConnections: 1 };
    const asking = (seconds) => async (manager) => {
      await manager.query("SELECT pg_sleep($1)", [seconds]);
      return { recovery_point: "paid" };
    };

    test("is noticed under a caller's own statement", async () => {
      await withProxy(async (service, proxy) => {
        const { idempotency_key: key } = await service.create({});
        const stage = rejection(service.workStage(key, asking(60)));
        await database.until(ASLEEP);
        proxy.freeze();
        expect(await stage).toMatchObject({ code: "ETIMEDOUT", statusCode: 503 });
        await database.until(WOKEN);
      }, options);
    });

    test("is noticed when only the answer is lost, and the next stage goes on", async () => {
      await withProxy(async (service, proxy) => {
        const { idempotency_key: key } = await service.create({});
        const stage = rejection(service.workStage(key, asking(1)));
        await database.until(ASLEEP);
        proxy.mute();
        expect(await stage).toMatchObject({ code: "ETIMEDOUT" });
        expect(await service.workStage(key, asking(0))).toMatchObject({ recovery_point: "paid" });
      }, options);
    });

    test("is not confused with a statement that takes long", async () => {
      await withProxy(async (service) => {
        const { idempotency_key: key } = await service.create({});
        expect(await service.workStage(key, asking(3))).toMatchObject({ recovery_point: "paid" });
      }, options);
    });
  });

  test("while nobody uses it goes unnoticed", async () => {
    await withProxy(async (service, proxy) => {
      await service.create({});
      proxy.cut();
      // A connection that was idle for longer than a second is tried before it is used.
      await new Promise((resolve) => setTimeout(resolve, 1_100));
      expect((await service.create({})).recovery_point).toBe("started");
    });
  });

  test("that the administrator ended rejects with its SQLSTATE", async () => {
    const service = database.service({ maxConnections: 9 });
    const { idempotency_key: key } = await service.create({});
    const stage = service.workStage(key, async (manager) => {
      const [{ pid }] = await manager.query("SELECT pg_backend_pid() AS pid");
      await database.pool.query("SELECT pg_terminate_backend($1)", [pid]);
      await manager.query("SELECT 1");
      return {};
    });
    const error = await rejection(stage);
    expect(["57P01", "08006", "ECONNRESET", "EPIPE"]).toContain(error.code);
    expect((await service.retrieve(key)).recovery_point).toBe("started");
  });
});

describe("round trips", () => {
  test.each([["exactly-once"], ["medusa"]])(
    "every operation is one, a stage three or four: %s",
    (mode) =>
      withProxy(
        async (service, proxy) => {
          const { idempotency_key: key } = await service.create({});
          const { idempotency_key: finished } = await service.create({
            recovery_point: "finished",
          });
          let unknown = 0;
          const counted = async (call) => {
            // Statements are prepared at their first use of a connection.
            await call();
            const before = proxy.roundTrips();
            await call();
            return proxy.roundTrips() - before;
          };
          const counts = {
            create: await counted(() => service.create({ request_params: { a: 1 } })),
            initializeNew: await counted(() => service.initializeRequest("", "POST", {}, "/")),
            initializeKnown: await counted(() =>
              service.initializeRequest(finished, "POST", {}, "/"),
            ),
            initializeUnknown: await counted(() =>
              service.initializeRequest(`unknown-${(unknown += 1)}`, "POST", {}, "/"),
            ),
            retrieve: await counted(() => service.retrieve(key)),
            select: await counted(() => service.retrieve({ idempotency_key: key })),
            lock: await counted(() => service.lock(key).catch(() => {})),
            lockUnknown: await counted(() => service.lock("nowhere").catch(() => {})),
            update: await counted(() => service.update(key, { response_code: 200 })),
            updateUnknown: await counted(() =>
              service.update("?", { response_code: 2 }).catch(() => {}),
            ),
          };
          expect(new Set(Object.values(counts))).toEqual(new Set([1]));
          const stage = (result) =>
            counted(() =>
              service.workStage(key, async (manager) => {
                await manager.query("SELECT 1");
                return result;
              }),
            );
          // BEGIN with the row lock, the callback's own query, and the outcome with COMMIT.
          expect(await stage({ recovery_point: "halfway" })).toBe(3);
          expect(await stage({ response_code: 200 })).toBe(3);
        },
        { mode, lockTimeout: 0, maxConnections: 1 },
      ),
  );

  test("a request of one stage is three", async () => {
    await withProxy(async (service, proxy) => {
      await service.create({});
      const before = proxy.roundTrips();
      await service.runStages(
        { key: "one-stage" },
        {
          started: async (manager) => {
            await manager.query("SELECT 1");
            return { response_code: 200 };
          },
        },
      );
      expect(proxy.roundTrips() - before).toBe(3);
    });
  });

  test("to take over a key that somebody has left is two", async () => {
    await withProxy(async (service, proxy) => {
      const [warm, left] = [await service.create({}), await service.create({})];
      const takeOver = (key) => service.initializeRequest(key.idempotency_key, "POST", {}, "/");
      await takeOver(warm);
      const before = proxy.roundTrips();
      await takeOver(left);
      expect(proxy.roundTrips() - before).toBe(2);
    });
  });
});

describe("connections of a bound service", () => {
  test.each(["databaseUrl", "a manager"])("end with the service that has %s", async (given) => {
    const name = `bound ${given}`;
    const url = changed((own) => own.searchParams.set("application_name", name));
    const own = new DataSource({ type: "postgres", url: database.url });
    const elsewhere = new DataSource({ type: "postgres", url });
    await Promise.all([own, elsewhere].map((each) => each.initialize()));
    const [container, options] =
      given === "databaseUrl" ? [{}, { databaseUrl: url }] : [{ manager: own.manager }, {}];
    const service = new IdempotencyKeyService(container, options);
    await elsewhere.manager.transaction(async (manager) => {
      // The request's fingerprint is looked for on the service's own connections.
      const request = { key: randomUUID(), method: "POST", path: "/", body: {} };
      await service.withTransaction(manager).begin(request);
    });
    await elsewhere.destroy();
    const open = async () => {
      const sql = "SELECT count(*)::int AS open FROM pg_stat_activity WHERE application_name = $1";
      return (await database.pool.query(sql, [name])).rows[0].open;
    };
    expect(await open()).toBeGreaterThan(0);
    await service.close();
    await database.until(
      `NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '${name}')`,
    );
    await own.destroy();
  });
});
