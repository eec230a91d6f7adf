"use strict";

const { fork } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const path = require("node:path");
const { idempotencyMiddleware } = require("..");
const api = require("../api");
const { rejection, useDatabase } = require("./helpers/database");
const {
  begin,
  beginSoon,
  eventually,
  inUse,
  leaseLost,
  openTypeOrm,
  reused,
  signal,
  sleep,
} = require("./helpers/flows");
const { useServers } = require("./helpers/http-server");

// Medusa v1 is on Express 4.
const express = require("express-4");

const database = useDatabase();
const listen = useServers();
let service;

beforeAll(() => {
  service = database.service();
});

const STATUS = { conflict: 409, duplicate_error: 422 };

/** An Express application as Medusa is one: the middleware, the parser, routes, an error handler. */
function application(mount) {
  const app = express();
  app.use("/", api.default("/project", {}));
  app.use(express.json());
  mount(app);
  app.use((error, _req, res, _next) => {
    const { type, code, message } = error;
    res.status(STATUS[type] ?? 500).json({ type, code, message });
  });
  return listen(app);
}

/** A route whose handler may fail, which Express 4 does not know of promises. */
function serve(handler) {
  return application((app) => {
    app.post("/complete", (req, res, next) => handler(req, res).catch(next));
  });
}

/** The key of a request, as text: as Medusa's routes go on with it. */
async function textOf(key) {
  return (await key).idempotency_key;
}

function initialize(given, req) {
  return given.initializeRequest(req.get("Idempotency-Key"), req.method, req.params, req.path);
}

async function post(url, key, body = {}, init = {}) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Idempotency-Key": key, "Content-Type": "application/json" },
    body: JSON.stringify(body),
    ...init,
  });
  return { status: response.status, body: await response.json().catch(() => null) };
}

async function stored(key) {
  const sql = "SELECT *, xmin FROM idempotency_key WHERE idempotency_key = $1";
  return (await database.pool.query(sql, [key])).rows[0];
}

/** Waits until the lease of a request was renewed so many milliseconds after its beginning. */
async function untilRenewed(key, milliseconds) {
  const { locked_at: begun } = await eventually(() => stored(key));
  const renewed = async () => (await stored(key)).locked_at - begun > milliseconds;
  expect(await eventually(renewed)).toBe(true);
}

/** The answer to a request, once it is not in conflict any more. */
function postSoon(url, key) {
  return eventually(async () => {
    const answer = await post(url, key);
    return answer.status !== 409 && answer;
  });
}

/** Milliseconds; it is renewed several times before it has run out. */
const LEASE = 1000;

const done = { response_code: 200, response_body: { done: true } };
const ok = { status: 200, body: { done: true } };
const conflict = { status: 409, body: expect.objectContaining(inUse) };

describe("until the handler has ended its response", () => {
  test("the lease is renewed, however slow the handler", async () => {
    const short = database.service({ leaseTimeout: LEASE });
    const finish = signal();
    const url = await serve(async (req, res) => {
      const key = await textOf(initialize(short, req));
      await finish.sent;
      const finished = await short.workStage(key, () => done);
      res.status(finished.response_code).json(finished.response_body);
    });
    const key = randomUUID();
    const first = post(`${url}/complete`, key);
    await untilRenewed(key, 2 * LEASE);
    expect(await rejection(begin(short, key))).toMatchObject({ type: "duplicate_error" });
    expect(await post(`${url}/complete`, key)).toEqual(conflict);
    finish.send();
    expect(await first).toEqual(ok);
    expect((await stored(key)).locked_at).toBeNull();
  });

  test("it is renewed also for a request that began in a transaction", async () => {
    const typeOrm = await openTypeOrm(database);
    const short = typeOrm.service({ leaseTimeout: LEASE });
    const finish = signal();
    const url = await serve(async (req, res) => {
      const key = await typeOrm.dataSource.transaction("SERIALIZABLE", (manager) =>
        textOf(initialize(short.withTransaction(manager), req)),
      );
      await finish.sent;
      const finished = await typeOrm.dataSource.transaction("SERIALIZABLE", (manager) =>
        short.withTransaction(manager).workStage(key, () => done),
      );
      res.status(finished.response_code).json(finished.response_body);
    });
    const key = randomUUID();
    const first = post(`${url}/complete`, key);
    await untilRenewed(key, 2 * LEASE);
    const { body } = await post(`${url}/complete`, key);
    // The second: the lease was renewed after the serializable transaction took its snapshot.
    expect([inUse.code, "40001"]).toContain(body.code);
    finish.send();
    expect(await first).toEqual(ok);
    expect(await post(`${url}/complete`, key)).toEqual(ok);
  });

  test("one of many requests at once does the work", async () => {
    let worked = 0;
    const url = await serve(async (req, res) => {
      const key = await textOf(initialize(service, req));
      const finished = await service.workStage(key, async () => {
        worked += 1;
        await sleep(20);
        return done;
      });
      res.status(finished.response_code).json(finished.response_body);
    });
    for (let round = 0; round < 5; round += 1) {
      const key = randomUUID();
      const requests = Array.from({ length: 8 }, () => post(`${url}/complete`, key));
      const answers = await Promise.all(requests);
      expect(answers).toContainEqual(ok);
      for (const answer of answers) {
        expect([200, 409]).toContain(answer.status);
      }
      expect(worked).toBe(round + 1);
    }
  });

  test("requests of one process fence each other off, by a key's text too", async () => {
    const impatient = database.service({ leaseTimeout: 100 });
    const goOn = signal();
    let stalled = true;
    const errors = [];
    const url = await serve(async (req, res) => {
      const first = stalled;
      stalled = false;
      const own = first ? service : impatient;
      const key = await textOf(initialize(own, req));
      if (first) {
        await goOn.sent;
        for (const call of [
          () => own.workStage(key, () => ({ response_code: 500 })),
          () => own.update(key, { response_code: 500 }),
          () => own.lock(key),
        ]) {
          errors.push(await rejection(call()));
        }
        throw errors[0];
      }
      goOn.send();
      await eventually(() => errors.length === 3);
      const finished = await own.workStage(key, () => done);
      res.status(finished.response_code).json(finished.response_body);
    });
    const key = randomUUID();
    const first = post(`${url}/complete`, key);
    await eventually(() => stored(key));
    await sleep(150);
    expect(await post(`${url}/complete`, key)).toEqual(ok);
    expect((await first).body).toMatchObject(leaseLost);
    expect(errors).toMatchObject([leaseLost, leaseLost, { type: "conflict" }]);
  });
});

test("a key in quotes is the request's own as it is without", async () => {
  const url = await serve(async (req, res) => {
    const key = req.get("Idempotency-Key");
    const keys = [await begin(service, `"${key}"`), await begin(service, key)];
    res.json(keys.map(({ idempotency_key }) => idempotency_key));
  });
  const key = randomUUID();
  expect((await post(`${url}/complete`, key)).body).toEqual([key, key]);
});

describe("when the handler has ended its response", () => {
  test("an unfinished request can be tried again at once", async () => {
    let failing = true;
    const points = [];
    const url = await serve(async (req, res) => {
      let key = await initialize(service, req);
      points.push(key.recovery_point);
      if (key.recovery_point === "started") {
        key = await service.workStage(key.idempotency_key, () => ({ recovery_point: "paid" }));
      }
      if (failing) {
        failing = false;
        throw new Error("not valid");
      }
      const finished = await service.workStage(key.idempotency_key, () => done);
      res.status(finished.response_code).json(finished.response_body);
    });
    const key = randomUUID();
    expect((await post(`${url}/complete`, key)).status).toBe(500);
    expect(await postSoon(`${url}/complete`, key)).toEqual(ok);
    expect(points).toEqual(["started", "paid"]);
  });

  test("but not when the client leaves: the handler goes on, and nobody runs beside it", async () => {
    const goOn = signal();
    const left = signal();
    const url = await serve(async (req, res) => {
      res.once("close", left.send);
      const key = await textOf(initialize(service, req));
      await goOn.sent;
      const finished = await service.workStage(key, () => done);
      res.status(finished.response_code).json(finished.response_body);
    });
    const key = randomUUID();
    const leaving = new AbortController();
    const first = rejection(post(`${url}/complete`, key, {}, { signal: leaving.signal }));
    await eventually(() => stored(key));
    leaving.abort();
    await first;
    await left.sent;
    expect(await post(`${url}/complete`, key)).toEqual(conflict);
    goOn.send();
    expect(await postSoon(`${url}/complete`, key)).toEqual(ok);
  });

  test("nor when the client has left before the middleware was reached", async () => {
    const arrived = signal();
    const middleware = idempotencyMiddleware();
    const key = randomUUID();
    const begun = signal();
    const goOn = signal();
    const url = await listen(async (req, res) => {
      arrived.send();
      await once(req.socket, "close");
      middleware(req, res, async () => {
        begun.send(await begin(service, key));
        await goOn.sent;
        res.end();
      });
    });
    const leaving = new AbortController();
    const left = rejection(post(url, key, {}, { signal: leaving.signal }));
    await arrived.sent;
    leaving.abort();
    await left;
    await begun.sent;
    expect(await rejection(begin(service, key))).toMatchObject(inUse);
    goOn.send();
    expect(await beginSoon(service, key)).toBeTruthy();
  });

  test("finished requests are left alone", async () => {
    const short = database.service({ leaseTimeout: 200, maxConnections: 6 });
    const goOn = signal();
    const url = await serve(async (req, res) => {
      const key = await textOf(initialize(short, req));
      const isOther = "other" in req.query;
      const finished = isOther ? undefined : await short.workStage(key, () => done);
      await goOn.sent;
      res.status(finished?.response_code ?? 500).json(finished?.response_body);
    });
    const [key, other] = [randomUUID(), randomUUID()];
    const first = post(`${url}/complete`, key);
    await eventually(async () => (await stored(key))?.recovery_point === "finished");
    const before = await stored(key);
    // By the time that one is renewed which began later, it would have been, too.
    const second = post(`${url}/complete?other`, other);
    await untilRenewed(other, 400);
    goOn.send();
    expect(await first).toEqual(ok);
    await second;
    expect(await post(`${url}/complete`, key)).toEqual(ok);
    // It waits for what the ends of the responses have begun.
    await short.close();
    expect(await stored(key)).toEqual(before);
    expect(before.locked_at).toBeNull();
  });

  test("the lease of a stage that still runs is released when it has ended", async () => {
    const inside = signal();
    const finish = signal();
    const url = await serve(async (req, res) => {
      const key = await textOf(initialize(service, req));
      const stage = service.workStage(key, async () => {
        inside.send();
        await finish.sent;
        return { recovery_point: "paid" };
      });
      await inside.sent;
      res.json({ done: "soon" });
      await stage;
    });
    const key = randomUUID();
    expect((await post(`${url}/complete`, key)).status).toBe(200);
    finish.send();
    const released = await eventually(async () => {
      const row = await stored(key);
      return row.recovery_point === "paid" && row.locked_at === null;
    });
    expect(released).toBe(true);
  });
});

describe("the request's identity", () => {
  const finishing = async (req, res) => {
    const key = await textOf(initialize(service, req));
    const finished = await service.workStage(key, () => done);
    res.status(finished.response_code).json(finished.response_body);
  };

  test("is its body", async () => {
    const url = `${await serve(finishing)}/complete`;
    const key = randomUUID();
    expect(await post(url, key, { a: { b: 1, c: [2, 3] }, d: null })).toEqual(ok);
    expect(await post(url, key, { d: null, a: { c: [2, 3], b: 1 } })).toEqual(ok);
    for (const other of [{ a: { b: 1, c: [3, 2] }, d: null }, { a: { b: 1, c: [2, 3] } }, {}]) {
      const answer = await post(url, key, other);
      expect(answer).toEqual({ status: 422, body: expect.objectContaining(reused) });
    }
  });

  test("is its whole path, where routers see only a part; but not its query", async () => {
    const url = await application((app) => {
      const router = express.Router();
      router.post("/", (req, res, next) => finishing(req, res).catch(next));
      app.use("/store/returns", router);
      app.use("/store/swaps", router);
    });
    const key = randomUUID();
    expect(await post(`${url}/store/returns`, key)).toEqual(ok);
    expect(await post(`${url}/store/returns?expand=items`, key)).toEqual(ok);
    expect(await post(`${url}/store/swaps`, key)).toMatchObject({ status: 422, body: reused });
  });

  test("is told by plain Node too", async () => {
    const middleware = idempotencyMiddleware();
    const url = await listen((req, res) => {
      middleware(req, res, async () => {
        const key = req.headers["idempotency-key"];
        const { idempotency_key } = await service
          .initializeRequest(key, req.method)
          .catch((error) => ({ idempotency_key: error.code ?? error.message }));
        res.end(JSON.stringify(idempotency_key));
      });
    });
    const key = randomUUID();
    expect((await post(`${url}/one`, key)).body).toBe(key);
    expect(await eventually(async () => (await stored(key)).locked_at === null)).toBe(true);
    expect((await post(`${url}/two`, key)).body).toBe(reused.code);
    expect((await post(`${url}/one?again`, key)).body).toBe(key);
  });
});

describe("the request's context", () => {
  const fingerprint = expect.stringMatching(/^[0-9a-f]{64}$/);

  test("reaches handlers behind a parser and timers, and the work of stages", async () => {
    const typeOrm = await openTypeOrm(database);
    const inside = [];
    const url = await serve(async (req, res) => {
      await sleep(5);
      let key = await initialize(service, req);
      for (const own of [service, typeOrm.service()]) {
        key = await own.workStage(key, async (manager) => {
          await manager.query("SELECT 1");
          inside.push(await textOf(begin(own.withTransaction(manager), "")));
          inside.push(await textOf(begin(own, "")));
          return { recovery_point: "next" };
        });
      }
      res.json({});
    });
    const key = randomUUID();
    // More than one chunk, so that the parser has to wait.
    const long = { text: "x".repeat(90_000) };
    expect((await post(`${url}/complete`, key, long)).status).toBe(200);
    for (const each of [key, ...inside]) {
      expect(await stored(each)).toMatchObject({ request_fingerprint: fingerprint });
    }
    expect(inside).toHaveLength(4);
  });

  test("is its own, and ends with it, also on one connection", async () => {
    const keys = [];
    const app = express();
    const handler = async (_req, res) => {
      keys.push(await textOf(begin(service, "")));
      res.json({});
    };
    app.post("/complete", handler);
    app.use(idempotencyMiddleware(), express.json());
    app.post("/inside", handler);
    const url = await listen(app);
    for (const route of ["inside", "inside", "complete", "inside"]) {
      await post(`${url}/${route}`, randomUUID(), { route: keys.length });
    }
    const rows = await Promise.all(keys.map(stored));
    const prints = rows.map((row) => row.request_fingerprint);
    expect(prints).toEqual([fingerprint, fingerprint, null, fingerprint]);
    expect(new Set(prints).size).toBe(4);
  });

  test("survives its mounting twice", async () => {
    const url = await application((app) => {
      app.use(idempotencyMiddleware());
      app.post("/complete", async (req, res) => {
        await initialize(service, req);
        res.json({});
      });
    });
    const key = randomUUID();
    await post(`${url}/complete`, key);
    expect(await beginAgain(key)).toBe(true);
  });

  /** Whether a request's lease was released. */
  function beginAgain(key) {
    return eventually(async () => (await stored(key)).locked_at === null);
  }

  test("is none for what runs outside of requests", async () => {
    const key = await begin(service);
    expect((await stored(key.idempotency_key)).request_fingerprint).toBeNull();
    expect(await rejection(begin(service, key.idempotency_key))).toMatchObject(inUse);
    await rejection(service.workStage(key, () => Promise.reject(new Error("no"))));
    expect(await beginSoon(service, key.idempotency_key)).toBeTruthy();
  });
});

describe("nothing is left behind", () => {
  const requests = path.join(__dirname, "fixtures/requests.js");

  test("a process that has nothing more to do ends by itself", async () => {
    const child = fork(requests, [database.url, "serve"]);
    const stuck = setTimeout(() => child.kill("SIGKILL"), 20_000);
    const [code, end] = await once(child, "exit");
    clearTimeout(stuck);
    expect([code, end]).toEqual([0, null]);
  });

  test("the heap does not grow with the number of requests", async () => {
    const child = fork(requests, [database.url, "measure"], { execArgv: ["--expose-gc"] });
    const [{ heap, left }] = await once(child, "message");
    await once(child, "exit");
    // A request holds 2 KB of body alone.
    expect(heap.at(-1) - heap[0]).toBeLessThan(2_000_000);
    expect(left).toBeLessThan(50);
  });
});
