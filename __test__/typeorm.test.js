"use strict";

const { randomUUID } = require("node:crypto");
const { setImmediate } = require("node:timers/promises");
const { inspect } = require("node:util");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService } = require("..");
const { sqlStateOf } = require("../lib/errors/sql-state");
const { rejection, useDatabase } = require("./helpers/database");
const { eventually } = require("./helpers/flows");

const database = useDatabase();
let dataSource;
let service;

beforeAll(async () => {
  await database.pool.query("CREATE TABLE effect (name text)");
  dataSource = await open({ url: database.url });
  service = serviceOf(dataSource);
});

beforeEach(() => database.pool.query("TRUNCATE effect"));

async function open(options) {
  const source = new DataSource({ type: "postgres", ...options });
  await source.initialize();
  database.closed({ close: () => source.destroy() });
  return source;
}

function serviceOf(source, options = {}) {
  return database.closed(new IdempotencyKeyService({ manager: source.manager }, options));
}

async function effects() {
  return (await database.pool.query("SELECT name FROM effect")).rows.map(({ name }) => name);
}

async function newKey(columns = {}) {
  return (await service.create(columns)).idempotency_key;
}

/** Has the table store something else than what it is given. */
async function withUpperCasePaths(work) {
  await database.pool.query(
    `CREATE FUNCTION upper_case() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN NEW.request_path := upper(NEW.request_path); RETURN NEW; END $$;
     CREATE TRIGGER upper_case BEFORE INSERT OR UPDATE ON idempotency_key
       FOR EACH ROW EXECUTE FUNCTION upper_case()`,
  );
  try {
    await work();
  } finally {
    await database.pool.query("DROP FUNCTION upper_case CASCADE");
  }
}

const insert = (manager, name) => manager.query("INSERT INTO effect VALUES ($1)", [name]);
const notFound = { type: "not_found" };

test("a key carries the texts that are stored, where a trigger has changed those that were given", async () => {
  const changed = async (target) => {
    const { idempotency_key, request_path } = await target.create({ request_path: "/a" });
    const updated = await target.update(idempotency_key, { request_path: "/b" });
    return [request_path, updated.request_path];
  };
  await withUpperCasePaths(async () => {
    const bound = (manager) => changed(service.withTransaction(manager));
    const together = [changed(service), changed(service), dataSource.transaction(bound)];
    expect(await Promise.all(together)).toEqual(together.map(() => ["/A", "/B"]));
    const stored = await service.retrieve(await newKey({ request_path: "/c" }));
    expect(stored.request_path).toBe("/C");
  });
});

describe.each([["exactly-once"], ["medusa"]])("in a transaction, mode %s", (mode) => {
  let likewise;

  beforeAll(() => {
    likewise = serviceOf(dataSource, { mode });
  });

  test("every operation runs in it", async () => {
    const failure = new Error("undo");
    const known = await newKey({ request_params: { a: [1] } });
    const transaction = dataSource.transaction(async (manager) => {
      const bound = likewise.withTransaction(manager);
      const given = { request_method: "POST", request_params: { b: 1 }, request_path: "/" };
      const key = await bound.create({ ...given, idempotency_key: "mine" });
      expect(key).toStrictEqual({
        ...given,
        id: expect.stringMatching(/^ikey_/),
        idempotency_key: "mine",
        created_at: expect.any(Date),
        locked_at: null,
        response_code: null,
        response_body: null,
        recovery_point: "started",
      });
      expect(await bound.retrieve("mine")).toStrictEqual(key);
      expect(await bound.retrieve({ request_params: { b: 1 } })).toStrictEqual(key);
      expect(await bound.initializeRequest("mine", "POST", { b: 1 }, "/")).toStrictEqual({
        ...key,
        locked_at: mode === "medusa" ? null : expect.any(Date),
      });
      expect((await bound.initializeRequest("", "PUT", [1], "/")).request_params).toEqual([1]);
      const { idempotency_key: ofClient } = await bound.initializeRequest("new", "PUT", 1, "/");
      expect(ofClient === "new").toBe(mode === "exactly-once");
      expect((await bound.lock("mine")).locked_at).toBeInstanceOf(Date);
      expect((await rejection(bound.lock("mine"))).message).toBe("Key already locked");
      const response_body = { done: true };
      const updated = await bound.update("mine", { response_code: 200, response_body });
      expect(updated.response_code).toBe(200);
      expect(updated.response_body).toBe(response_body);
      expect(await bound.update(known, {})).toMatchObject({ request_params: { a: [1] } });
      for (const call of [
        () => bound.retrieve("nowhere"),
        () => bound.lock("nowhere"),
        () => bound.update("nowhere", { response_code: 1 }),
        () => bound.workStage("nowhere", () => ({})),
      ]) {
        expect(await rejection(call())).toMatchObject(notFound);
      }
      expect(await rejection(service.retrieve("mine"))).toMatchObject(notFound);
      throw failure;
    });
    expect(await rejection(transaction)).toBe(failure);
    expect(await rejection(service.retrieve("mine"))).toMatchObject(notFound);
  });

  test("a stage is two statements, and hands on that very manager", async () => {
    const key = await newKey();
    await dataSource.transaction("SERIALIZABLE", async (manager) => {
      const query = jest.spyOn(manager, "query");
      const response_body = { order: "order_1" };
      const finished = await likewise.withTransaction(manager).workStage(key, async (given) => {
        expect(given).toBe(manager);
        expect(query).toHaveBeenCalledTimes(1);
        return { response_code: 200, response_body };
      });
      expect(query).toHaveBeenCalledTimes(2);
      expect(finished).toMatchObject({ recovery_point: "finished", response_code: 200 });
      expect(finished.response_body).toBe(response_body);
    });
    expect((await service.retrieve(key)).recovery_point).toBe("finished");
  });

  test.each(["create", "initialize", "replay", "retrieve", "lock", "update"])(
    "%s is one statement",
    async (method) => {
      const key = await newKey();
      const finished = await newKey({ recovery_point: "finished" });
      const calls = {
        create: (bound) => bound.create({}),
        initialize: (bound) => bound.initializeRequest(`new-${mode}`, "POST", {}, "/"),
        replay: (bound) => bound.initializeRequest(finished, "POST", {}, "/"),
        retrieve: (bound) => bound.retrieve(key),
        lock: (bound) => bound.lock(key),
        update: (bound) => bound.update(key, { response_code: 200 }),
      };
      await dataSource.transaction(async (manager) => {
        const query = jest.spyOn(manager, "query");
        await calls[method](likewise.withTransaction(manager));
        expect(query).toHaveBeenCalledTimes(1);
      });
    },
  );
});

describe("bound to a manager inside a transaction", () => {
  test("to take over a key that somebody has left is two statements", async () => {
    const key = await newKey();
    await dataSource.transaction(async (manager) => {
      const query = jest.spyOn(manager, "query");
      await service.withTransaction(manager).initializeRequest(key, "POST", {}, "/");
      expect(query).toHaveBeenCalledTimes(2);
    });
  });

  test("a request in several transactions, begun, staged and answered, is its flow's", async () => {
    const inTransaction = (work) =>
      dataSource.transaction((manager) => work(service.withTransaction(manager)));
    const { idempotency_key: key } = await inTransaction((bound) =>
      bound.initializeRequest("in-several", "POST", {}, "/"),
    );
    for (const recovery_point of ["a", "b"]) {
      await inTransaction((bound) => bound.workStage(key, () => ({ recovery_point })));
      expect(await rejection(service.initializeRequest(key, "POST", {}, "/"))).toMatchObject({
        code: "idempotency_key_in_use",
      });
    }
    await inTransaction((bound) => bound.workStage(key, () => ({ response_code: 200 })));
    expect(await service.initializeRequest(key, "POST", {}, "/")).toMatchObject({
      response_code: 200,
      locked_at: null,
    });
  });

  test("a stage that was rolled back after it had ended can run again", async () => {
    const key = await newKey();
    const stage = (work) =>
      dataSource.transaction(async (manager) => {
        const bound = service.withTransaction(manager);
        await bound.workStage(key, () => ({ recovery_point: "a" }));
        return work();
      });
    await rejection(stage(() => Promise.reject(new Error("the commit failed"))));
    await stage(() => {});
    expect((await service.retrieve(key)).recovery_point).toBe("a");
  });

  test("a stage of a key that another transaction works on is refused", async () => {
    const key = await newKey();
    await dataSource.transaction((manager) =>
      service.withTransaction(manager).workStage(key, async () => {
        const other = dataSource.transaction((meanwhile) =>
          service.withTransaction(meanwhile).workStage(key, () => ({})),
        );
        expect(await rejection(other)).toMatchObject({ code: "idempotency_key_in_use" });
        return {};
      }),
    );
  });

  test("what the callback fails with is rejected as it is", async () => {
    const key = await newKey();
    for (const thrown of [new TypeError("no"), "no", undefined, null, { code: "40001" }]) {
      const callback = jest.fn(() => Promise.reject(thrown));
      const transaction = dataSource.transaction((manager) =>
        service.withTransaction(manager).workStage(key, callback),
      );
      expect(await rejection(transaction)).toBe(thrown);
      expect(callback).toHaveBeenCalledTimes(1);
    }
    expect((await service.retrieve(key)).recovery_point).toBe("started");
  });

  test("TypeORM's own errors come through", async () => {
    const key = await newKey();
    const transaction = dataSource.transaction((manager) =>
      service.withTransaction(manager).create({ idempotency_key: key }),
    );
    expect(await rejection(transaction)).toMatchObject({
      name: "QueryFailedError",
      code: "23505",
      detail: `Key (idempotency_key)=(${key}) already exists.`,
      table: "idempotency_key",
      driverError: expect.anything(),
    });
  });

  describe("what the database refuses repeats nothing that a client sent", () => {
    const secret = "what-a-client-sent";
    const bindings = [
      ["in TypeORM's transaction", (work) => dataSource.transaction((manager) => work(manager))],
      ["in this package's", (work) => database.service().atomicPhase_(work)],
    ];
    const refused = [
      ["23514", { request_method: "REFUSED", request_path: secret, response_body: { secret } }],
      ["23502", { id: secret, recovery_point: null, request_params: { secret } }],
      ["22P05", { request_path: secret, request_params: { secret, a: "\0" } }],
    ];

    beforeAll(() =>
      database.pool.query(
        "ALTER TABLE idempotency_key ADD CONSTRAINT refuses CHECK (request_method <> 'REFUSED')",
      ),
    );
    afterAll(() => database.pool.query("ALTER TABLE idempotency_key DROP CONSTRAINT refuses"));

    test.each(bindings.flatMap(([where, open]) => refused.map((one) => [...one, where, open])))(
      "%s of %j %s",
      async (code, columns, _, open) => {
        const error = await rejection(
          open((manager) => service.withTransaction(manager).create(columns)),
        );
        expect(error).toMatchObject({ name: "QueryFailedError", code });
        const { stack, message } = error;
        const shown = [stack, message, JSON.stringify(error), inspect(error, { depth: 9 })];
        expect(shown.join("\n")).not.toContain(secret);
      },
    );
  });

  test("atomicPhase_ runs in it, and rolls it back for the error handler", async () => {
    const failure = new Error("no");
    let activeInHandler;
    const transaction = dataSource.transaction(async (manager) => {
      const bound = service.withTransaction(manager);
      expect(await bound.atomicPhase_(async (given) => given === manager)).toBe(true);
      await insert(manager, "undone");
      await bound.atomicPhase_(
        () => Promise.reject(failure),
        () => (activeInHandler = manager.queryRunner.isTransactionActive),
      );
    });
    await rejection(transaction);
    expect(activeInHandler).toBe(false);
    expect(await effects()).toEqual([]);
  });

  test("a manager whose transaction has ended is refused", async () => {
    let kept;
    await dataSource.transaction(async (manager) => {
      kept = manager;
    });
    const bound = service.withTransaction(kept);
    const calls = [bound.create({}), bound.retrieve("k"), bound.workStage("k", () => ({}))];
    for (const call of [...calls, bound.atomicPhase_(() => {})]) {
      expect(await rejection(call)).toMatchObject({
        type: "unexpected_state",
        code: "transaction_ended",
      });
    }
  });

  test("a query runner without a transaction, and a released one, are refused", async () => {
    const queryRunner = dataSource.createQueryRunner();
    const bound = service.withTransaction(queryRunner.manager);
    expect((await rejection(bound.create({}))).code).toBe("transaction_ended");
    await queryRunner.startTransaction();
    const key = await bound.create({});
    await queryRunner.commitTransaction();
    await queryRunner.release();
    expect((await rejection(bound.create({}))).code).toBe("transaction_ended");
    expect(await service.retrieve(key.idempotency_key)).toEqual(key);
  });

  test.each([[{}], ["manager"], [5], [{ query() {}, queryRunner: {} }]])(
    "%p, which is no manager, is refused",
    async (manager) => {
      const bound = service.withTransaction(manager);
      expect(await rejection(bound.create({}))).toMatchObject({
        type: "invalid_argument",
        code: "invalid_manager",
      });
    },
  );
});

test("an operation in a transaction waits for the renewal of its lease", async () => {
  const renewing = serviceOf(dataSource, { leaseTimeout: 600 });
  const attempt = await renewing.begin({ key: randomUUID(), method: "POST", path: "/payouts" });
  const locking = await database.pool.connect();
  await locking.query("BEGIN; LOCK TABLE idempotency_key IN ACCESS EXCLUSIVE MODE");
  attempt.keepAlive();
  const updated = dataSource.transaction(async (manager) => {
    const query = jest.spyOn(manager, "query");
    const renewal = `SELECT FROM pg_stat_activity
      WHERE wait_event_type = 'Lock' AND datname = current_database()`;
    expect(
      await eventually(async () => (await locking.query(renewal)).rowCount === 1),
    ).toBeTruthy();
    const update = renewing.withTransaction(manager).update(attempt.key, { response_code: 202 });
    await setImmediate();
    const sent = query.mock.calls.length;
    await locking.query("COMMIT");
    expect(await update).toMatchObject({ response_code: 202 });
    expect(sent).toBe(0);
  });
  await updated.finally(() => locking.release());
  await attempt.release();
});

describe("with TypeORM's root manager", () => {
  test("an unbound stage opens a transaction of TypeORM's", async () => {
    const key = await newKey();
    let given;
    const finished = await service.workStage(key, async (manager) => {
      given = manager;
      expect(manager.queryRunner.isTransactionActive).toBe(true);
      expect(manager.connection).toBe(dataSource);
      await insert(manager, "stage");
      expect(await effects()).toEqual([]);
      return { response_code: 201 };
    });
    expect(given["@instanceof"]).toBe(Symbol.for("EntityManager"));
    expect(finished).toMatchObject({ recovery_point: "finished", response_code: 201 });
    expect(await effects()).toEqual(["stage"]);
  });

  test("a failed stage rolls back", async () => {
    const key = await newKey();
    const failure = new Error("no");
    const stage = service.workStage(key, async (manager) => {
      await insert(manager, "undone");
      throw failure;
    });
    expect(await rejection(stage)).toBe(failure);
    expect(await effects()).toEqual([]);
    expect((await service.retrieve(key)).recovery_point).toBe("started");
  });

  test("binding to it is being unbound", async () => {
    const bound = service.withTransaction(dataSource.manager);
    const key = await bound.create({ request_path: "/root" });
    expect(await service.retrieve(key.idempotency_key)).toEqual(key);
    await bound.workStage(key.idempotency_key, async (manager) => {
      expect(manager).not.toBe(dataSource.manager);
      expect(manager.queryRunner.isTransactionActive).toBe(true);
      return {};
    });
  });

  test("atomicPhase_ opens a transaction at the level asked for", async () => {
    const level = (isolation) =>
      service.atomicPhase_((manager) => manager.query("SHOW transaction_isolation"), isolation);
    expect(await level("SERIALIZABLE")).toEqual([{ transaction_isolation: "serializable" }]);
    expect(await level()).toEqual([{ transaction_isolation: "read committed" }]);
  });

  test("atomicPhase_ repeats once, and only when a level was given", async () => {
    const failure = Object.assign(new Error("again"), { code: "40001" });
    const work = jest.fn(() => Promise.reject(failure));
    expect(await rejection(service.atomicPhase_(work, "SERIALIZABLE"))).toBe(failure);
    expect(work).toHaveBeenCalledTimes(2);
    const handler = jest.fn(() => "handled");
    expect(await service.atomicPhase_(work, handler, true)).toBe("handled");
    expect(work).toHaveBeenCalledTimes(3);
    expect(handler).toHaveBeenCalledWith(failure);
  });

  test.each([[true], [false]])(
    "atomicPhase_ does not say that it committed what the server has aborted, awaited: %s",
    async (isAwaited) => {
      const phase = service.atomicPhase_(async (manager) => {
        await insert(manager, "lost");
        const failing = manager.query("SELECT 1/0").catch(() => {});
        return isAwaited && failing;
      });
      expect((await rejection(phase)).code).toBe("25P02");
      expect(await effects()).toEqual([]);
    },
  );

  test("another call never joins the transaction of a running stage", async () => {
    const key = await newKey();
    let other;
    const stage = service.workStage(key, async () => {
      other = await service.create({ request_path: "/other" });
      throw new Error("no");
    });
    await rejection(stage);
    expect((await service.retrieve(other.idempotency_key)).request_path).toBe("/other");
  });
});

describe("the connection of single statements", () => {
  async function pidOf(other) {
    const key = await other.create({});
    const { rows } = await database.pool.query(
      `SELECT count(*)::int AS count FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'medusa-idempotency-key'`,
    );
    expect(rows[0].count).toBeGreaterThan(0);
    return key;
  }

  test("is to the database of the container's manager", async () => {
    const parts = new URL(database.url);
    const source = await open({
      host: parts.hostname,
      port: Number(parts.port),
      username: "postgres",
      database: parts.pathname.slice(1),
    });
    const key = await pidOf(serviceOf(source));
    expect(await service.retrieve(key.idempotency_key)).toEqual(key);
  });

  test("has the DataSource's schema", async () => {
    await database.service({ schema: "shop" }).migrate();
    const source = await open({ url: database.url, schema: "shop" });
    const inSchema = serviceOf(source);
    const key = await inSchema.create({ idempotency_key: "in the schema" });
    expect(await rejection(service.retrieve("in the schema"))).toMatchObject(notFound);
    await source.transaction(async (manager) => {
      const bound = inSchema.withTransaction(manager);
      expect(await bound.retrieve("in the schema")).toEqual(key);
      await bound.workStage("in the schema", () => ({}));
    });
    expect((await inSchema.retrieve("in the schema")).recovery_point).toBe("finished");
  });

  test("has the schema of the option, whatever the DataSource's is", async () => {
    await database.service({ schema: "warehouse" }).migrate();
    const source = await open({ url: database.url, schema: "nowhere" });
    const inSchema = serviceOf(source, { schema: "warehouse" });
    const { idempotency_key: key } = await source.transaction((manager) =>
      inSchema.withTransaction(manager).create({}),
    );
    expect((await inSchema.retrieve(key)).idempotency_key).toBe(key);
    expect(await rejection(service.retrieve(key))).toMatchObject(notFound);
  });

  test("asks a password function for each connection", async () => {
    const parts = new URL(database.url);
    const password = jest.fn(async () => "secret");
    const source = {
      manager: managerWith({
        host: parts.hostname,
        port: Number(parts.port),
        username: "postgres",
        password,
        database: parts.pathname.slice(1),
      }),
    };
    const asking = serviceOf(source, { maxConnections: 6 });
    const { id } = await asking.create({});
    expect(password).toHaveBeenCalledTimes(1);
    const locking = await database.pool.connect();
    await locking.query("BEGIN; LOCK TABLE idempotency_key");
    // Selectors do not share statements.
    const retrieved = Promise.all(Array.from({ length: 20 }, () => asking.retrieve({ id })));
    await eventually(() => password.mock.calls.length === 7);
    await locking.query("COMMIT");
    locking.release();
    expect(await retrieved).toHaveLength(20);
    expect(password).toHaveBeenCalledTimes(7);
  });

  test("asks each copy of the package for its own password", async () => {
    const { hostname, port, pathname } = new URL(database.url);
    const asked = [];
    for (const name of ["first", "second"]) {
      const password = async () => {
        asked.push(name);
        return "secret";
      };
      const manager = managerWith({
        host: hostname,
        port: Number(port),
        username: "postgres",
        password,
        database: pathname.slice(1),
      });
      let copy;
      jest.isolateModules(() => (copy = require("..")));
      await database.closed(new copy.IdempotencyKeyService({ manager }, {})).create({});
    }
    expect(asked).toEqual(["first", "second"]);
  });

  test("says when a password function fails", async () => {
    const password = () => Promise.reject(new Error("no token"));
    const source = { manager: managerWith({ host: "127.0.0.1", port: 1, password }) };
    const error = await rejection(serviceOf(source).create({}));
    expect(error.code).toBe("28000");
    expect(error.message).toMatch(/password function.*127\.0\.0\.1:1.*no token/);
  });

  test("takes Medusa's config where there is no manager", async () => {
    const configModule = { projectConfig: { database_url: database.url, database_extra: {} } };
    const inContainer = database.closed(new IdempotencyKeyService({ configModule }));
    const asOptions = database.closed(new IdempotencyKeyService({}, configModule));
    const key = await inContainer.create({});
    expect(await asOptions.retrieve(key.idempotency_key)).toEqual(key);
  });

  test("prefers its own option, then the manager", async () => {
    const elsewhere = managerWith({ host: "127.0.0.1", port: 1 });
    const configModule = { projectConfig: { database_url: "postgres://127.0.0.1:2/x" } };
    const container = { manager: elsewhere, configModule };
    const own = database.closed(
      new IdempotencyKeyService(container, { databaseUrl: database.url }),
    );
    const ofManager = database.closed(new IdempotencyKeyService(container));
    await own.create({});
    expect((await rejection(ofManager.create({}))).message).toContain("127.0.0.1:1");
  });

  function managerWith(options) {
    const source = new DataSource({ type: "postgres", ...options });
    return source.manager;
  }
});

test("the SQLSTATE is found in what TypeORM rejects with", async () => {
  const error = await rejection(dataSource.query("SELECT * FROM nowhere"));
  expect(sqlStateOf(error)).toBe("42P01");
});
