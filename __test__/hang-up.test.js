"use strict";

// A client that stops waiting and asks again, at every point of the work of every kind of handler.

const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const http = require("node:http");
const net = require("node:net");
const { PassThrough } = require("node:stream");
const { pipeline } = require("node:stream/promises");
const { IdempotencyKeyService, idempotencyMiddleware } = require("..");
const { useDatabase } = require("./helpers/database");
const { eventually, inUse, openTypeOrm, signal } = require("./helpers/flows");
const { ask } = require("./helpers/http-client");
const { useServers } = require("./helpers/http-server");

const EXPRESS = { 4: require("express-4"), 5: require("express") };
const POINTS = [0, 25, 50, 75, 100];

const database = useDatabase();
const serve = useServers();
const answer = { response_code: 201, response_body: { done: true } };
let service;

beforeAll(async () => {
  await database.pool.query("CREATE TABLE effect (key text NOT NULL)");
  service = database.service();
});

/** Whether a handler finds that its client has gone: Node calls no request aborted that it has read whole. */
const isGone = (req, res) => req.aborted || res.closed;

/** Holds the first request at one point of its work until it may go on. */
function holdAt(point) {
  const held = { reached: signal(), closed: signal(), goOn: signal(), req: undefined };
  const reach = async (req, res, now) => {
    held.req ??= req;
    if (held.req === req && now === point) {
      res.once("close", held.closed.send);
      held.reached.send();
      await held.goOn.sent;
    }
  };
  return { ...held, reach, isFirst: (req) => held.req === req };
}

async function listen(express, handler, route = "/orders") {
  const app = express();
  app.use(idempotencyMiddleware(), express.json());
  app.get("/", (_req, res) => res.end());
  app.post(route, (req, res, next) => handler(req, res).catch(next));
  app.use((error, _req, res, next) => {
    if (res.headersSent) {
      next(error);
      return;
    }
    const { status = 500, headers = {}, code, message } = error;
    res.set(headers).status(status).json({ code, message });
  });
  return serve(app);
}

/** The answer of a request once it may be tried again: long before a lease of 10 s runs out. */
function retried(url, key) {
  return eventually(async () => {
    const again = await ask(url, { key }).answer;
    return again.status !== 409 && again;
  });
}

const send = (res, { response_code, response_body }) =>
  res.status(response_code).json(response_body);

const begin = (own, req) =>
  own.initializeRequest(req.get("Idempotency-Key"), req.method, req.params, req.path);

const insert = (client, req) =>
  client.query("INSERT INTO effect VALUES ($1)", [req.get("Idempotency-Key")]);

async function effectsOf(key) {
  const { rows } = await database.pool.query(
    "SELECT count(*)::int AS count FROM effect WHERE key = $1",
    [key],
  );
  return rows[0].count;
}

/** Work without stages: the effect and the answer are not in one transaction. */
async function unstaged(own, req, res, reach) {
  await reach(req, res, 0);
  const key = await begin(own, req);
  if (key.recovery_point === "finished") {
    return key;
  }
  await reach(req, res, 25);
  await reach(req, res, 50);
  await insert(database.pool, req);
  await reach(req, res, 75);
  const finished = await own.update(key.idempotency_key, {
    recovery_point: "finished",
    ...answer,
  });
  await reach(req, res, 100);
  return finished;
}

/** Work in stages that are called by the key's text, as Medusa's routes do it. */
async function staged(own, req, res, reach) {
  await reach(req, res, 0);
  let key = await begin(own, req);
  await reach(req, res, 25);
  while (key.recovery_point !== "finished") {
    const stage = async (manager) => {
      if (key.recovery_point === "started") {
        await reach(req, res, 50);
        await insert(manager, req);
        return { recovery_point: "paid" };
      }
      return answer;
    };
    const before = key.recovery_point;
    key = await own.workStage(key.idempotency_key, stage);
    if (before === "started") {
      await reach(req, res, 75);
    }
  }
  await reach(req, res, 100);
  return key;
}

async function inRunStages(own, req, res, reach) {
  await reach(req, res, 0);
  const { body, method, params, path } = req;
  const request = { key: req.get("Idempotency-Key"), method, params, path, body };
  const result = await own.runStages(request, {
    started: async (manager) => {
      await reach(req, res, 25);
      await insert(manager, req);
      await reach(req, res, 50);
      return { recovery_point: "paid" };
    },
    paid: async () => {
      await reach(req, res, 75);
      return answer;
    },
  });
  await reach(req, res, 100);
  return result;
}

const answering = (work) => async (own, req, res, reach) => {
  send(res, await work(own, req, res, reach));
};

/** Answers piece by piece, beginning before the work. */
async function streaming(own, req, res, reach) {
  const begun = async (...at) => {
    if (!res.headersSent) {
      res.status(201).type("json").write("{");
    }
    await reach(...at);
  };
  await reach(req, res, 0);
  const key = await begin(own, req);
  if (key.recovery_point === "finished") {
    send(res, key);
    return;
  }
  await unstaged(own, req, res, begun);
  res.write('"done":');
  res.end("true}");
}

const KINDS = {
  "without stages": answering(unstaged),
  "with stages": answering(staged),
  "with runStages": answering(inRunStages),
  "that streams": streaming,
};

describe.each(Object.keys(EXPRESS))("under Express %s", (version) => {
  const express = EXPRESS[version];

  describe.each(["a new connection", "a connection that is kept alive"])("on %s", (connection) => {
    const keepAlive = connection !== "a new connection";
    let agent;

    beforeEach(() => {
      agent = keepAlive ? new http.Agent({ keepAlive }) : false;
    });

    afterEach(() => agent && agent.destroy());

    /** Has a client ask and hang up when its request has come to a point. */
    async function hangUpAt(url, key, held) {
      if (agent) {
        await ask(`${url}/`, { method: "GET", agent }).answer;
      }
      const first = ask(`${url}/orders`, { key, agent });
      await held.reached.sent;
      expect(first.isReused()).toBe(keepAlive);
      first.hangUp();
      await held.closed.sent;
    }

    describe.each(Object.keys(KINDS))("a handler %s", (kind) => {
      test.each(POINTS)(
        "that its client leaves after %i %% of the work: one effect",
        async (point) => {
          const held = holdAt(point);
          const url = await listen(express, (req, res) =>
            KINDS[kind](service, req, res, held.reach),
          );
          const key = randomUUID();
          await hangUpAt(url, key, held);
          const retry = await ask(`${url}/orders`, { key, agent }).answer;
          if (point === 0 || point === 100) {
            // Not begun yet, or finished already.
            expect(retry).toMatchObject({ status: 201, body: { done: true } });
          } else {
            expect(retry).toMatchObject({ status: 409, body: { code: inUse.code } });
            expect(retry.headers["retry-after"]).toBe("1");
          }
          held.goOn.send();
          const answered = await retried(`${url}/orders`, key);
          expect(answered).toMatchObject({ status: 201, body: { done: true } });
          expect(await effectsOf(key)).toBe(1);
        },
      );
    });

    test.each(["without stages", "with stages", "with runStages"])(
      "who waits gets the answer of a handler %s that its client has left",
      async (kind) => {
        const held = holdAt(50);
        const patient = database.service({ waitTimeout: 20_000 });
        const url = await listen(express, (req, res) => KINDS[kind](patient, req, res, held.reach));
        const key = randomUUID();
        await hangUpAt(url, key, held);
        const retry = ask(`${url}/orders`, { key, agent }).answer;
        held.goOn.send();
        expect(await retry).toMatchObject({ status: 201, body: { done: true } });
        expect(await effectsOf(key)).toBe(1);
      },
    );

    test.each(POINTS)("a handler that throws after the hang-up, at %i %%", async (point) => {
      for (const kind of ["without stages", "with stages", "with runStages"]) {
        // What has had its effect without a stage, and fails then, has it again.
        if (kind === "without stages" && point === 75) {
          continue;
        }
        const held = holdAt(point);
        const url = await listen(express, (req, res) =>
          KINDS[kind](service, req, res, async (...at) => {
            await held.reach(...at);
            if (held.isFirst(req) && at[2] === point) {
              throw new Error("out of stock");
            }
          }),
        );
        const key = randomUUID();
        await hangUpAt(url, key, held);
        if (point !== 0 && point !== 100) {
          expect(await ask(`${url}/orders`, { key, agent }).answer).toMatchObject({ status: 409 });
        }
        held.goOn.send();
        expect(await retried(`${url}/orders`, key)).toMatchObject({
          status: 201,
          body: { done: true },
        });
        expect(await effectsOf(key)).toBe(1);
      }
    });

    test("a handler that streams and throws, which Express answers by itself", async () => {
      for (const leaves of [true, false]) {
        const held = holdAt(25);
        const url = await listen(express, (req, res) =>
          streaming(service, req, res, async (...at) => {
            await held.reach(...at);
            if (held.isFirst(req) && at[2] === 25) {
              throw new Error("the source is gone");
            }
          }),
        );
        const key = randomUUID();
        if (leaves) {
          await hangUpAt(url, key, held);
          held.goOn.send();
        } else {
          const first = ask(`${url}/orders`, { key, agent }).answer;
          held.goOn.send();
          await expect(first).rejects.toMatchObject({ code: "ECONNRESET" });
        }
        expect(await retried(`${url}/orders`, key)).toMatchObject({
          status: 201,
          body: { done: true },
        });
        expect(await effectsOf(key)).toBe(1);
      }
    });

    test.each(POINTS)(
      "a handler that sees, at %i %%, that its client has gone, and stops",
      async (point) => {
        for (const kind of ["without stages", "with stages", "with runStages"]) {
          if (kind === "without stages" && point === 75) {
            continue;
          }
          let seen = false;
          const held = holdAt(point);
          const url = await listen(express, (req, res) =>
            KINDS[kind](service, req, res, async (...at) => {
              await held.reach(...at);
              if (isGone(req, res)) {
                seen = true;
                res.end();
                throw new Error("nobody waits");
              }
            }),
          );
          const key = randomUUID();
          await hangUpAt(url, key, held);
          held.goOn.send();
          expect(await retried(`${url}/orders`, key)).toMatchObject({
            status: 201,
            body: { done: true },
          });
          expect(await effectsOf(key)).toBe(1);
          expect(seen).toBe(true);
        }
      },
    );
  });

  test("a handler that sees that its client has gone, and just stops: maxDuration", async () => {
    const warnings = [];
    const logger = { warn: (message) => warnings.push(message) };
    const short = database.closed(
      new IdempotencyKeyService(
        { logger },
        { databaseUrl: database.url, maxDuration: 700, leaseTimeout: 20_000 },
      ),
    );
    for (const cart of ["one", "two"]) {
      const held = holdAt(25);
      const handler = async (req, res) => {
        const key = await unstaged(short, req, res, async (...at) => {
          await held.reach(...at);
          if (isGone(req, res)) {
            await new Promise(() => {});
          }
        });
        send(res, key);
      };
      const url = await listen(express, handler, `/carts-${version}/:id/complete`);
      const key = randomUUID();
      const asked = `${url}/carts-${version}/${cart}/complete?expand=items`;
      const first = ask(asked, { key });
      await held.reached.sent;
      first.hangUp();
      await held.closed.sent;
      held.goOn.send();
      expect(await ask(asked, { key }).answer).toMatchObject({ status: 409 });
      expect(await retried(asked, key)).toMatchObject({ status: 201, body: { done: true } });
      expect(await effectsOf(key)).toBe(1);
    }
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`POST /carts-${version}/one/complete has neither`);
    expect(warnings[0]).toContain("maxDuration");
  });
});

describe("a response that is a stream's", () => {
  /** A server whose handler is given a source to stream from. */
  async function streamWith(respond) {
    const source = new PassThrough();
    const closed = signal();
    let first = true;
    const url = await listen(EXPRESS[5], async (req, res) => {
      const key = await begin(service, req);
      if (!first) {
        const finished = await service.update(key.idempotency_key, {
          recovery_point: "finished",
          ...answer,
        });
        send(res, finished);
        return;
      }
      first = false;
      res.once("close", closed.send);
      await respond(source, res);
    });
    return { url, source, closed };
  }

  const ifGone = () => {};

  test("goes on when the client leaves its pipeline: the handler may still be at work", async () => {
    const goOn = signal();
    const { url, source, closed } = await streamWith(async (from, res) => {
      await pipeline(from, res).catch(ifGone);
      await goOn.sent;
      res.end();
    });
    const key = randomUUID();
    const first = ask(`${url}/orders`, { key });
    source.write("some");
    await eventually(async () => (await stored(key)) !== undefined);
    first.hangUp();
    await closed.sent;
    expect(await ask(`${url}/orders`, { key }).answer).toMatchObject({ status: 409 });
    goOn.send();
    const again = await retried(`${url}/orders`, key);
    expect(again).toMatchObject({ status: 201 });
  });

  test("has ended when its source fails", async () => {
    const streaming = signal();
    const { url, source } = await streamWith(async (from, res) => {
      const streamed = pipeline(from, res).catch(ifGone);
      streaming.send();
      await streamed;
    });
    const key = randomUUID();
    const first = ask(`${url}/orders`, { key });
    source.write("some");
    await streaming.sent;
    source.destroy(new Error("the disk is gone"));
    await expect(first.answer).rejects.toMatchObject({ code: "ECONNRESET" });
    const again = await retried(`${url}/orders`, key);
    expect(again).toMatchObject({ status: 201 });
  });

  test("goes on when the client closes its side while a part of it is being written", async () => {
    const goOn = signal();
    const { url, closed } = await streamWith(async (_from, res) => {
      res.write("x".repeat(20_000_000));
      await goOn.sent;
      res.end();
    });
    const key = randomUUID();
    const { hostname, port } = new URL(url);
    const client = net.connect({ host: hostname, port, allowHalfOpen: true }).pause();
    client.write(
      `POST /orders HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: ${key}\r\nContent-Length: 0\r\n\r\n`,
    );
    await eventually(async () => (await stored(key)) !== undefined);
    client.end();
    await once(client, "finish");
    // From here on the connection takes what is still to be written, and then it is at its end.
    client.resume();
    await closed.sent;
    expect(await ask(`${url}/orders`, { key }).answer).toMatchObject({ status: 409 });
    goOn.send();
    expect(await retried(`${url}/orders`, key)).toMatchObject({ status: 201 });
  });

  test("goes on when a write finds that the connection is gone", async () => {
    const goOn = signal();
    const client = new net.Socket().on("error", () => {});
    const { url, closed } = await streamWith(async (_from, res) => {
      // In one turn, so that the write comes before the server knows that the client has gone.
      client.resetAndDestroy();
      res.write("some");
      await goOn.sent;
      res.end();
    });
    const key = randomUUID();
    const { hostname, port } = new URL(url);
    client.connect({ host: hostname, port });
    client.write(
      `POST /orders HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: ${key}\r\nContent-Length: 0\r\n\r\n`,
    );
    await closed.sent;
    expect(await ask(`${url}/orders`, { key }).answer).toMatchObject({ status: 409 });
    goOn.send();
    expect(await retried(`${url}/orders`, key)).toMatchObject({ status: 201 });
  });

  async function stored(key) {
    const { rows } = await database.pool.query(
      "SELECT * FROM idempotency_key WHERE idempotency_key = $1",
      [key],
    );
    return rows[0];
  }
});

test("in a transaction of TypeORM's, as Medusa's routes begin their requests", async () => {
  const typeOrm = await openTypeOrm(database);
  const own = typeOrm.service();
  const held = holdAt(50);
  const url = await listen(EXPRESS[4], async (req, res) => {
    const inTransaction = (work) =>
      typeOrm.dataSource.transaction("SERIALIZABLE", (manager) =>
        work(own.withTransaction(manager)),
      );
    let key = await inTransaction((bound) => begin(bound, req));
    if (key.recovery_point === "started") {
      key = await inTransaction((bound) =>
        bound.workStage(key.idempotency_key, async (manager) => {
          await held.reach(req, res, 50);
          await insert(manager, req);
          return answer;
        }),
      );
    }
    send(res, key);
  });
  const key = randomUUID();
  const first = ask(`${url}/orders`, { key });
  await held.reached.sent;
  first.hangUp();
  await held.closed.sent;
  expect(await ask(`${url}/orders`, { key }).answer).toMatchObject({ status: 409 });
  held.goOn.send();
  const again = await retried(`${url}/orders`, key);
  expect(again).toMatchObject({ status: 201, body: { done: true } });
  expect(await effectsOf(key)).toBe(1);
});
