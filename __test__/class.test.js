"use strict";

const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { IdempotencyKeyService, TransactionManager } = require("..");
const { rejection, useDatabase } = require("./helpers/database");
const { signal } = require("./helpers/flows");

const database = useDatabase();
const ROOT = path.join(__dirname, "..");

class Extended extends IdempotencyKeyService {
  static LIFE_TIME = "SINGLETON";
  field = "own";

  async create(payload) {
    return super.create({ ...payload, request_path: "/extended" });
  }

  async createTwo() {
    return this.atomicPhase_(async (manager) => {
      const bound = this.withTransaction(manager);
      return [await bound.create({}), await bound.create({})];
    });
  }
}

describe("a subclass", () => {
  test("has its own methods, fields and static properties", async () => {
    const service = database.service({}, Extended);
    expect(Extended.LIFE_TIME).toBe("SINGLETON");
    expect(service.field).toBe("own");
    expect(service).toBeInstanceOf(IdempotencyKeyService);
    const keys = await service.createTwo();
    expect(keys.map((key) => key.request_path)).toEqual(["/extended", "/extended"]);
  });

  test("is what withTransaction makes another of", async () => {
    const service = database.service({}, Extended);
    await service.atomicPhase_((manager) => {
      const bound = service.withTransaction(manager);
      expect(bound).toBeInstanceOf(Extended);
      expect(bound).not.toBe(service);
      expect(bound.field).toBe("own");
      expect(bound.transactionManager_).toBe(manager);
      expect(bound.manager_).toBe(manager);
      expect(bound.activeManager_).toBe(manager);
    });
  });

  test("may be compiled down, as TypeScript projects are", async () => {
    function Old(...args) {
      return Reflect.construct(IdempotencyKeyService, args, new.target ?? Old);
    }
    Old.prototype = Object.create(IdempotencyKeyService.prototype, { constructor: { value: Old } });
    Object.setPrototypeOf(Old, IdempotencyKeyService);
    const service = database.service({}, Old);
    expect(service).toBeInstanceOf(Old);
    expect((await service.create({})).recovery_point).toBe("started");
  });
});

describe("the properties of Medusa's base class", () => {
  test("are there, readable and assignable", () => {
    const manager = { name: "root" };
    const container = { manager };
    const options = { databaseUrl: database.url };
    const declaration = { resources: "shared" };
    const service = new IdempotencyKeyService(container, options, declaration);
    expect(service.__container__).toBe(container);
    expect(service.__configModule__).toBe(options);
    expect(service.__moduleDeclaration__).toBe(declaration);
    expect(service.manager_).toBe(manager);
    expect(service.transactionManager_).toBeUndefined();
    expect(service.activeManager_).toBe(manager);
    service.manager_ = "other";
    expect(service.activeManager_).toBe("other");
    service.transactionManager_ = "bound";
    expect(service.activeManager_).toBe("bound");
  });

  test("do not read what a cradle does not know", () => {
    const cradle = new Proxy(
      {},
      {
        get: (_, name) => {
          throw new Error(`Could not resolve '${String(name)}'`);
        },
        has: () => false,
      },
    );
    expect(new IdempotencyKeyService(cradle, {}).manager_).toBeUndefined();
  });

  test("withTransaction without a manager is the service itself", () => {
    const service = database.service();
    for (const nothing of [undefined, null]) {
      expect(service.withTransaction(nothing)).toBe(service);
    }
  });

  test.each([
    [{ code: "40001" }, true],
    [{ code: "40P01" }, true],
    [{ code: "P2034" }, true],
    [{ code: "P2028" }, false],
    [{ code: "23505" }, false],
    [{ code: 40001 }, false],
    [new Error("no"), false],
    [undefined, false],
    [null, false],
    ["40001", false],
  ])("shouldRetryTransaction_(%p) is %p", (error, expected) => {
    expect(database.service().shouldRetryTransaction_(error)).toBe(expected);
  });
});

describe("construction", () => {
  test("takes Medusa's config module in place of options", async () => {
    const config = {
      projectConfig: { database_url: database.url, database_schema: "public", redis_url: "x" },
      featureFlags: {},
      plugins: [],
    };
    const service = new IdempotencyKeyService({}, config);
    expect((await service.create({})).recovery_point).toBe("started");
    await service.close();
  });

  test("finds DATABASE_URL when nothing else names a database", async () => {
    const before = process.env.DATABASE_URL;
    const service = new IdempotencyKeyService();
    try {
      delete process.env.DATABASE_URL;
      expect(await rejection(service.retrieve("k"))).toMatchObject({ code: "no_database" });
      process.env.DATABASE_URL = database.url;
      expect((await rejection(service.retrieve("k"))).type).toBe("not_found");
    } finally {
      restore("DATABASE_URL", before);
      await service.close();
    }
  });
});

describe("close", () => {
  test("ends the pool when its last user closes", async () => {
    const [first, second] = [0, 1].map(
      () => new IdempotencyKeyService({}, { databaseUrl: database.url, maxConnections: 7 }),
    );
    await first.create({});
    await second.create({});
    await first.close();
    expect((await second.create({})).recovery_point).toBe("started");
    await second.close();
  });

  test("refuses later calls, and a second close does nothing", async () => {
    const service = new IdempotencyKeyService({}, { databaseUrl: database.url });
    await service.create({});
    await service.close();
    await service.close();
    expect(await rejection(service.create({}))).toMatchObject({
      type: "unexpected_state",
      code: "service_closed",
    });
  });

  test("waits for the calls that still run", async () => {
    const service = new IdempotencyKeyService({}, { databaseUrl: database.url, maxConnections: 8 });
    const { idempotency_key: key } = await service.create({});
    const inside = signal();
    const finish = signal();
    const stage = service.workStage(key, async () => {
      inside.send();
      await finish.sent;
      return {};
    });
    await inside.sent;
    let isClosed = false;
    const closing = service.close().then(() => (isClosed = true));
    expect(await rejection(service.create({}))).toMatchObject({ code: "service_closed" });
    await database.pool.query("SELECT 1");
    expect(isClosed).toBe(false);
    finish.send();
    await closing;
    expect((await stage).recovery_point).toBe("finished");
  });
});

describe("realms", () => {
  test("what it makes is of the caller's realm, also after jest.resetModules()", async () => {
    for (let round = 0; round < 3; round += 1) {
      jest.resetModules();
      const { IdempotencyKeyService: Fresh } = require("..");
      const service = new Fresh({}, { databaseUrl: database.url });
      const key = await service.create({ request_params: { a: [] } });
      expect(key.created_at).toBeInstanceOf(Date);
      expect(key).toBeInstanceOf(Object);
      expect(key.request_params.a).toBeInstanceOf(Array);
      const errors = [
        await rejection(service.retrieve("nowhere")),
        await rejection(service.create({ idempotency_key: key.idempotency_key })),
        await rejection(service.retrieve({ nonsense: 1 })),
      ];
      for (const error of errors) {
        expect(error).toBeInstanceOf(Error);
        expect(error.constructor).toBe(Error);
      }
      const rows = await service.atomicPhase_((manager) =>
        manager.query("SELECT now() AS time, '[1]'::jsonb AS list"),
      );
      expect(rows).toBeInstanceOf(Array);
      expect(rows[0].time).toBeInstanceOf(Date);
      expect(rows[0].list).toBeInstanceOf(Array);
      expect(service.create({})).toBeInstanceOf(Promise);
      await service.close();
    }
  });
});

describe("the package", () => {
  test("is required by CommonJS and imported by ESM, by name and by default", () => {
    const commonJs = `
      const face = require("medusa-idempotency-key");
      console.log([face.IdempotencyKeyService, face.default, face.TransactionManager].map((c) => c.name).join());`;
    const esm = `
      import Default, { IdempotencyKeyService, TransactionManager } from "medusa-idempotency-key";
      console.log([IdempotencyKeyService, Default, TransactionManager].map((c) => c.name).join());`;
    const names = "IdempotencyKeyService,IdempotencyKeyService,TransactionManager\n";
    expect(node(["-e", commonJs])).toBe(names);
    expect(node(["--input-type=module", "-e", esm])).toBe(names);
  });

  test("knows its managers from others", async () => {
    await database.service().atomicPhase_((manager) => {
      expect(TransactionManager.isTransactionManager(manager)).toBe(true);
    });
    for (const other of [undefined, null, {}, "x", { query() {} }]) {
      expect(TransactionManager.isTransactionManager(other)).toBe(false);
    }
    expect(() => new TransactionManager()).toThrow("cannot be constructed");
  });

  test("does not take a manager of another installation for its own", async () => {
    const folder = copyPackage();
    try {
      const other = require(path.join(folder, "index.js"));
      const service = database.service();
      await database.service({}, other.IdempotencyKeyService).atomicPhase_(async (manager) => {
        expect(TransactionManager.isTransactionManager(manager)).toBe(false);
        expect(await rejection(service.withTransaction(manager).create({}))).toMatchObject({
          type: "invalid_argument",
          code: "invalid_manager",
          message: expect.stringContaining("another installation of medusa-idempotency-key"),
        });
      });
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** Installs the package once more, with its own addon. */
function copyPackage() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "installation-"));
  const { files } = require("../package.json");
  const addons = fs.readdirSync(ROOT).filter((name) => name.endsWith(".node"));
  for (const name of ["package.json", ...files, ...addons]) {
    fs.cpSync(path.join(ROOT, name), path.join(folder, name), { recursive: true });
  }
  fs.symlinkSync(path.join(ROOT, "node_modules"), path.join(folder, "node_modules"), "junction");
  return folder;
}

function node(args) {
  return execFileSync(process.execPath, args, { cwd: ROOT, encoding: "utf8" });
}

function restore(name, value) {
  if (value === undefined) {
    delete process.env[name];
  } else {
    process.env[name] = value;
  }
}
