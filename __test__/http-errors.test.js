"use strict";

// The status that frameworks make of the errors of this package, each by itself, without a line of code for it.

const { randomUUID } = require("node:crypto");
const { IdempotencyKeyService } = require("..");
const { rejection, useDatabase } = require("./helpers/database");
const { openTypeOrm } = require("./helpers/flows");
const { ask } = require("./helpers/http-client");
const { useServers } = require("./helpers/http-server");

const database = useDatabase();
const closers = [];
const listenTo = useServers();
let service;
/** Its database cannot be reached. */
let unreachable;

beforeAll(() => {
  service = database.service();
  unreachable = database.closed(
    new IdempotencyKeyService({}, { databaseUrl: "postgres://u:secret@127.0.0.1:1/none" }),
  );
});

afterEach(async () => {
  for (const close of closers.splice(0)) {
    await close();
  }
});

/** What a request to `/<what>` fails with. */
const FAILURES = {
  async used(key) {
    await service.initializeRequest(key, "POST", {}, "/other");
  },
  async busy(key) {
    await service.initializeRequest(key, "POST", {}, "/same");
  },
  async malformed() {
    await service.initializeRequest("not a key", "POST", {}, "/same");
  },
  async missing() {
    await service.retrieve("nowhere");
  },
  async down() {
    await unreachable.retrieve("k");
  },
  async mistake() {
    await service.runStages({ method: "POST" }, { paid: () => ({}) });
  },
};

const EXPECTED = [
  ["used", 422, "was used for another request"],
  ["busy", 409, "is in progress"],
  ["malformed", 400, "1 to 255 visible ASCII characters"],
  ["missing", 404, "was not found"],
  ["down", 503, undefined],
  ["mistake", 500, undefined],
];

function underExpress(express) {
  const app = express();
  // Silent, as its own error handler is in tests.
  app.set("env", "test");
  app.post("/:what", (req, _res, next) => {
    FAILURES[req.params.what](req.get("Idempotency-Key")).catch(next);
  });
  return listenTo(app);
}

const FRAMEWORKS = {
  "Express 4": () => underExpress(require("express-4")),
  "Express 5": () => underExpress(require("express")),
  Koa() {
    const Koa = require("koa");
    const app = new Koa();
    app.silent = true;
    app.use((context) => FAILURES[context.path.slice(1)](context.get("Idempotency-Key")));
    return listenTo(app.callback());
  },
  async Fastify() {
    const app = require("fastify")();
    app.post("/:what", (request) =>
      FAILURES[request.params.what](request.headers["idempotency-key"]),
    );
    closers.push(() => app.close());
    return app.listen({ port: 0, host: "127.0.0.1" });
  },
  async Nest() {
    require("reflect-metadata");
    const { Controller, Headers, Module, Param, Post } = require("@nestjs/common");
    const { NestFactory } = require("@nestjs/core");
    class Failures {
      fail(what, key) {
        return FAILURES[what](key);
      }
    }
    // As TypeScript compiles the decorators.
    Controller()(Failures);
    Param("what")(Failures.prototype, "fail", 0);
    Headers("idempotency-key")(Failures.prototype, "fail", 1);
    Post(":what")(
      Failures.prototype,
      "fail",
      Object.getOwnPropertyDescriptor(Failures.prototype, "fail"),
    );
    class App {}
    Module({ controllers: [Failures] })(App);
    const app = await NestFactory.create(App, { logger: false });
    closers.push(() => app.close());
    await app.listen(0, "127.0.0.1");
    return app.getUrl();
  },
};

describe.each(Object.keys(FRAMEWORKS))("%s answers", (framework) => {
  test.each(EXPECTED)("%s: %i", async (what, status, says) => {
    const key = randomUUID();
    await service.initializeRequest(key, "POST", {}, "/same");
    const url = await FRAMEWORKS[framework]();
    const { status: answered, headers, text } = await ask(`${url}/${what}`, { key }).answer;
    expect(answered).toBe(status);
    if (says) {
      expect(text).toContain(says);
    }
    expect(text).not.toContain("secret");
    // Nest leaves the headers of an error to exception filters.
    if (status === 409 && framework !== "Nest") {
      expect(headers["retry-after"]).toBe("1");
    }
  });
});

describe("the signature of an error", () => {
  test.each([
    ["not_found", 404, () => service.retrieve("nowhere")],
    ["conflict", 409, () => lockTwice()],
    ["duplicate_error", 422, () => FAILURES.used(usedKey)],
    ["invalid_data", 400, () => FAILURES.malformed()],
    ["invalid_argument", 500, () => service.workStage("k", "no function")],
    ["unexpected_state", 500, () => closed().retrieve("k")],
    ["23505", 422, () => service.create({ idempotency_key: usedKey })],
    ["22021", 400, () => service.create({ request_path: "a\0b" })],
    ["22P02", 400, () => service.create({ response_code: "abc" })],
    ["22007", 400, () => service.create({ created_at: "tomorrow or so" })],
    ["ECONNREFUSED", 503, () => unreachable.retrieve("k")],
    ["28000", 503, () => wrongRole().retrieve("k")],
    ["3D000", 503, () => noDatabase().retrieve("k")],
  ])("%s: %i", async (name, status, call) => {
    const error = await rejection(call());
    expect([error.type, error.code]).toContain(name);
    expect(error).toMatchObject({ status, statusCode: status, expose: status < 500 });
    const retries = status === 409 || status === 503;
    expect(error.headers).toEqual(retries ? { "Retry-After": "1" } : undefined);
  });

  test("is on what fails in a transaction of TypeORM's, which stays TypeORM's own error", async () => {
    const typeOrm = await openTypeOrm(database);
    const failed = typeOrm.dataSource.transaction((manager) =>
      typeOrm.service().withTransaction(manager).create({ idempotency_key: usedKey }),
    );
    const error = await rejection(failed);
    expect(error.constructor.name).toBe("QueryFailedError");
    expect(error).toMatchObject({ code: "23505", status: 422, statusCode: 422, expose: true });
  });

  test("is on a COMMIT that fails in a transaction which TypeORM has opened", async () => {
    const { pool } = database;
    await pool.query("CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    const own = (await openTypeOrm(database)).service();
    const twice = (manager) => manager.query("INSERT INTO late VALUES (1), (1)");
    const { idempotency_key: key } = await own.create({});
    const failures = [
      own.workStage(key, async (manager) => {
        await twice(manager);
        return { response_code: 200 };
      }),
      own.atomicPhase_(twice),
      own.atomicPhase_(twice, "SERIALIZABLE"),
    ];
    for (const failure of failures) {
      expect(await rejection(failure)).toMatchObject({ code: "23505", status: 422, expose: true });
    }
    const thrown = new Error("mine");
    const phase = own.atomicPhase_(() => Promise.reject(thrown), "SERIALIZABLE");
    expect(await rejection(phase)).toBe(thrown);
    expect(Object.keys(thrown)).toEqual([]);
  });

  test.each([
    ["password", { password: 4711 }],
    ["user", { username: 4711 }],
    ["port", { port: 94711 }],
    ["database", { database: {} }],
    ["ca", { ssl: { ca: 4711, rejectUnauthorized: true }, password: () => "x" }],
  ])("is on a setting of a wrong type, which is not repeated: %s", async (name, settings) => {
    const options = { type: "postgres", host: "127.0.0.1", port: 1, ...settings };
    const manager = { "@instanceof": Symbol.for("EntityManager"), connection: { options } };
    const own = database.closed(new IdempotencyKeyService({ manager }, {}));
    const error = await rejection(own.retrieve("k"));
    if (name === "ca") {
      // As text it is no certificate.
      expect(error).toMatchObject({ status: 503, expose: false });
    } else {
      expect(error).toMatchObject({
        type: "invalid_argument",
        code: "invalid_option",
        status: 500,
      });
      const problem = name === "port" ? "port that is no number" : `${name} is of a wrong type`;
      expect(error.message).toContain(problem);
    }
    expect(error.message).not.toContain("4711");
  });

  test("is on what cannot be written as JSON; not on what a callback throws", async () => {
    const circle = {};
    circle.circle = circle;
    const error = await rejection(service.create({ response_body: circle }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({ status: 500, expose: false });
    const thrown = new Error("mine");
    expect(await rejection(service.workStage(usedKey, () => Promise.reject(thrown)))).toBe(thrown);
    expect(Object.keys(thrown)).toEqual([]);
  });

  const usedKey = randomUUID();

  beforeAll(() => service.initializeRequest(usedKey, "POST", {}, "/same"));

  async function lockTwice() {
    const { idempotency_key: key } = await service.create({});
    await service.lock(key);
    await service.lock(key);
  }

  function closed() {
    const own = database.service();
    void own.close();
    return own;
  }

  function wrongRole() {
    const url = new URL(database.url);
    url.username = "nobody_at_all";
    return database.service({ databaseUrl: url.href });
  }

  function noDatabase() {
    const url = new URL(database.url);
    url.pathname = "/no_such_database";
    return database.service({ databaseUrl: url.href });
  }
});
