"use strict";

// Node's response as handlers use it, with the capturing form in front of them: clients get what they would get
// without it.

const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const fs = require("node:fs");
const http = require("node:http");
const http2 = require("node:http2");
const os = require("node:os");
const path = require("node:path");
const { Readable, pipeline } = require("node:stream");
const { gunzipSync } = require("node:zlib");
const compression = require("compression");
const express = require("express");
const fastify = require("fastify");
const { idempotencyMiddleware } = require("..");
const { idempotency } = require("../lib/http/express");
const { idempotency: fastifyIdempotency } = require("../lib/http/fastify");
const { useDatabase } = require("./helpers/database");
const { eventually, signal } = require("./helpers/flows");
const { ask, lastingHeaders } = require("./helpers/http-client");
const { listen, useServers } = require("./helpers/http-server");

const LIMIT = 64 * 1024;

const database = useDatabase();
const listenTo = useServers();
let service;
let protect;

beforeAll(async () => {
  service = database.service();
  await service.migrate();
  protect = idempotency(service, { scope: () => null, maxResponseBytes: LIMIT });
});

/** Starts a server whose handler is protected. */
const serve = (handler) =>
  listenTo((req, res) =>
    protect(req, res, (error) => (error ? fail(res, error) : handler(req, res))),
  );

function fail(res, error) {
  res.statusCode = 500;
  res.end(String(error.stack));
}

const post = (url, options = {}) => ask(url, { key: randomUUID(), ...options }).answer;

/** What a replay has of an answer, but for what Node makes anew for each. */
function lasting({ status, bytes, headers }) {
  return { status, bytes, headers: lastingHeaders(headers) };
}

/** @type {Record<string, (req: object, res: import("node:http").ServerResponse) => void>} */
const HANDLERS = {
  "end() alone": (req, res) => res.end(),
  "end(text)": (req, res) => res.end("text"),
  "end(text, encoding, callback)": (req, res) => res.end("dGV4dA==", "base64", () => {}),
  "end(bytes)": (req, res) => res.end(Buffer.from([0, 255, 0])),
  "end(callback)": (req, res) => res.end(() => {}),
  "write() and end()": (req, res) => {
    res.write("6f6e65", "hex", () => res.end("two"));
  },
  "write() of a view": (req, res) => {
    res.write(new Uint8Array([1, 2, 3]));
    res.end();
  },
  "writeHead() with an object": (req, res) => {
    res
      .setHeader("X-One", "1")
      .writeHead(201, { "X-Two": "2", "X-Many": ["a", "b"] })
      .end("x");
  },
  "writeHead() with a reason": (req, res) =>
    res.writeHead(202, "Well done", { "X-One": 1 }).end("x"),
  "writeHead() with a list": (req, res) =>
    res.writeHead(200, ["X-One", "1", "X-Two", "2"]).end("x"),
  "writeHead() with a name twice": (req, res) =>
    res.writeHead(200, ["X-Many", "a", "X-Many", "b"]).end(),
  "writeHead() with a length": (req, res) =>
    res.writeHead(200, { "Content-Length": "4" }).end("text"),
  "flushHeaders()": (req, res) => {
    res.setHeader("X-One", "1");
    res.flushHeaders();
    res.end("x");
  },
  "204 with a body": (req, res) => res.writeHead(204).end("none"),
  303: (req, res) => res.writeHead(303, { Location: "/there" }).end(),
  304: (req, res) => res.writeHead(304, { ETag: '"1"' }).end(),
  trailers: (req, res) => {
    res.writeHead(200, { Trailer: "X-Sum" });
    res.write("x");
    res.addTrailers({ "X-Sum": "1" });
    res.end();
  },
  "pipe()": (req, res) => Readable.from([Buffer.from("one"), Buffer.from("two")]).pipe(res),
  "pipeline()": (req, res) => pipeline(Readable.from([Buffer.from("one")]), res, () => {}),
  "cork()": (req, res) => {
    res.cork();
    res.write("one");
    res.uncork();
    res.end("two");
  },
  "early hints": (req, res) => {
    res.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    res.end("x");
  },
  "end() twice": (req, res) => res.end("one").end(),
};

test.each(Object.entries(HANDLERS))("%s", async (_name, handler) => {
  const plain = await post(await listenTo(handler));
  const url = await serve(handler);
  const key = randomUUID();
  const [first, replay] = [await post(url, { key }), await post(url, { key })];
  expect(lasting(first)).toEqual(lasting(plain));
  expect(first.reason).toBe(plain.reason);
  expect(first.trailers).toEqual(plain.trailers);
  const kept = { ...first.headers };
  // Trailers are not kept.
  delete kept.trailer;
  expect(lasting(replay)).toEqual(lasting({ ...first, headers: kept }));
  expect(replay.headers["idempotent-replayed"]).toBe("true");
});

test.each([
  ["writeHead() twice", (res) => res.writeHead(200).writeHead(201), "ERR_HTTP_HEADERS_SENT"],
  [
    "setHeader() after writeHead()",
    (res) => res.writeHead(200).setHeader("a", "b"),
    "ERR_HTTP_HEADERS_SENT",
  ],
  ["setHeader() after end()", (res) => res.end().setHeader("a", "b"), "ERR_HTTP_HEADERS_SENT"],
  ["a status that is none", (res) => res.writeHead(42), "ERR_HTTP_INVALID_STATUS_CODE"],
  [
    "an implied status that is none",
    (res) => ((res.statusCode = 1000), res.end()),
    "ERR_HTTP_INVALID_STATUS_CODE",
  ],
  ["a reason of two lines", (res) => res.writeHead(200, "a\r\nb"), "ERR_INVALID_CHAR"],
  ["a header of two lines", (res) => res.writeHead(200, { a: "b\r\nc" }), "ERR_INVALID_CHAR"],
  ["write() of a number", (res) => res.write(1), "ERR_INVALID_ARG_TYPE"],
])("%s throws as Node has it", async (_name, misuse, code) => {
  const thrown = (run) => async (_req, res) => {
    let seen;
    try {
      misuse(res);
    } catch (error) {
      seen = error.code;
    }
    run(seen, res);
  };
  const seen = [];
  const note = (one, res) => {
    seen.push(one);
    Object.assign(res, { statusCode: 200, statusMessage: "" });
    res.end();
  };
  await post(await listenTo(thrown(note)));
  await post(await serve(thrown(note)));
  expect(seen).toEqual([code, code]);
});

test("sends nothing before the answer is stored, and looks sent to its handler meanwhile", async () => {
  const seen = {};
  const key = randomUUID();
  const client = await database.pool.connect();
  const url = await serve(async (_req, res) => {
    // The answer cannot be stored while somebody else has the row.
    await client.query("BEGIN");
    await client.query("SELECT 1 FROM idempotency_key WHERE idempotency_key = $1 FOR UPDATE", [
      key,
    ]);
    seen.before = [res.headersSent, res.writableEnded, res.finished];
    res.on("finish", () => (seen.finish = true));
    res.end("x", () => (seen.callback = true));
    seen.after = [res.headersSent, res.writableEnded, res.finished];
  });
  let answered = false;
  const answer = post(url, { key }).finally(() => (answered = true));
  await eventually(() => seen.after);
  await database.untilBlocked();
  expect([answered, seen.finish]).toEqual([false, undefined]);
  await client.query("COMMIT");
  client.release();
  expect((await answer).text).toBe("x");
  expect(seen).toMatchObject({
    before: [false, false, false],
    after: [true, true, true],
    callback: true,
    finish: true,
  });
});

test("connections are kept alive", async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const url = await serve((_req, res) => res.end("x"));
  const key = randomUUID();
  await ask(url, { key, agent }).answer;
  const again = ask(url, { key, agent });
  expect((await again.answer).headers["idempotent-replayed"]).toBe("true");
  expect(again.isReused()).toBe(true);
  agent.destroy();
});

test("requests that a client sends without waiting are answered in order", async () => {
  const url = await serve((req, res) => res.end(req.url));
  const socket = require("node:net").connect(new URL(url).port, "127.0.0.1");
  const requestFor = (name, last) =>
    `POST /${name} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: ${randomUUID()}\r\n` +
    `Connection: ${last ? "close" : "keep-alive"}\r\nContent-Length: 0\r\n\r\n`;
  socket.write(requestFor("one") + requestFor("two") + requestFor("three", true));
  const text = Buffer.concat(await socket.toArray()).toString();
  expect(text.match(/\/(one|two|three)/g)).toEqual(["/one", "/two", "/three"]);
});

describe("an answer that is too long to be held", () => {
  test("waits for its client", async () => {
    const chunk = Buffer.alloc(64 * 1024, "x");
    let waited = 0;
    const url = await serve(async (_req, res) => {
      for (let index = 0; index < 200; index += 1) {
        if (!res.write(chunk)) {
          waited += 1;
          await once(res, "drain");
        }
      }
      res.end();
    });
    const { bytes } = await post(url);
    expect(bytes.length).toBe(200 * chunk.length);
    expect(waited).toBeGreaterThan(0);
  });

  test.each([
    ["by write()", (res) => res.write("y".repeat(LIMIT + 1))],
    ["by end()", (res) => res.end("y".repeat(LIMIT + 1))],
  ])("is finished when its client hangs up: %s", async (_how, begin) => {
    const key = randomUUID();
    let effects = 0;
    const url = await serve((_req, res) => {
      effects += 1;
      begin(res);
    });
    const gone = ask(url, { key });
    gone.response.then((response) => response.destroy()).catch(() => {});
    await gone.answer.catch(() => {});
    const retry = await eventually(async () => {
      const answer = await post(url, { key });
      return answer.status !== 409 && answer;
    });
    expect(retry.body.code).toBe("idempotency_answer_not_kept");
    expect(effects).toBe(1);
  });

  test("breaks off if its request cannot be finished", async () => {
    const key = randomUUID();
    const url = await serve(async (_req, res) => {
      res.write("y".repeat(LIMIT + 1));
      await database.pool.query(
        "UPDATE idempotency_key SET locked_at = now() + interval '1 h' WHERE idempotency_key = $1",
        [key],
      );
      res.end();
    });
    await expect(post(url, { key })).rejects.toThrow();
  });
});

describe("a handler that gives up", () => {
  test.each([
    ["destroys its response", (_req, res) => res.destroy()],
    ["destroys it with an error", (_req, res) => res.destroy(new Error("gone"))],
    ["destroys it half-way", (_req, res) => (res.write("half"), res.destroy())],
    ["destroys it after much", (_req, res) => (res.write("y".repeat(LIMIT + 1)), res.destroy())],
    ["destroys its connection", (req, res) => (res.write("half"), req.socket.destroy())],
    ["destroys the response's connection", (_req, res) => res.socket.destroy()],
    [
      "pipes from a source that fails",
      (_req, res) => pipeline(Readable.from(failing()), res, () => {}),
    ],
  ])("%s: its request can be tried again", async (_how, handler) => {
    const key = randomUUID();
    let effects = 0;
    const url = await serve((req, res) => {
      effects += 1;
      handler(req, res);
    });
    await expect(post(url, { key })).rejects.toThrow();
    await eventually(async () => {
      await post(url, { key }).catch(() => {});
      return effects === 2;
    });
    expect(effects).toBe(2);
  });
});

async function* failing() {
  yield Buffer.from("half");
  throw new Error("the source fails");
}

describe("a client that hangs up", () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "capture-"));
  const file = path.join(folder, "answer.txt");
  beforeAll(() => fs.writeFileSync(file, "z".repeat(LIMIT / 2)));
  afterAll(() => fs.rmSync(folder, { recursive: true }));

  test.each([
    ["pipe()", (_req, res) => fs.createReadStream(file, { highWaterMark: 512 }).pipe(res)],
    ["pipeline()", (_req, res) => pipeline(fs.createReadStream(file), res, () => {})],
    ["sendFile()", (_req, res) => res.sendFile(file)],
    ["write()", (_req, res) => (res.write("z".repeat(LIMIT / 4)), res.end("z".repeat(LIMIT / 4)))],
  ])("does not stop %s", async (_how, answer) => {
    const key = randomUUID();
    const [begun, closed] = [signal(), signal()];
    const app = express();
    app.use(protect);
    app.post("/", async (req, res) => {
      req.socket.once("close", closed.send);
      begun.send();
      await closed.sent;
      answer(req, res);
    });
    const url = await listenTo(app);
    const gone = ask(url, { key });
    await begun.sent;
    gone.hangUp();
    const replay = await eventually(async () => {
      const seen = await post(url, { key });
      return seen.status !== 409 && seen;
    });
    expect(replay.text).toBe("z".repeat(LIMIT / 2));
    expect(replay.headers["idempotent-replayed"]).toBe("true");
  });

  test("is told of once the answer is stored", async () => {
    const [begun, closed] = [signal(), signal()];
    const events = [];
    const url = await serve(async (req, res) => {
      req.socket.once("close", closed.send);
      res.once("close", () => events.push("close"));
      begun.send();
      await closed.sent;
      events.push(`destroyed: ${res.destroyed}`);
      res.end("x");
    });
    const gone = ask(url, { key: randomUUID() });
    await begun.sent;
    gone.hangUp();
    await eventually(() => events.length === 2);
    expect(events).toEqual(["destroyed: false", "close"]);
  });
});

describe("other middleware", () => {
  const long = "a long answer, ".repeat(1000);
  const gzipped = { "Accept-Encoding": "gzip" };

  test.each([
    ["before", (app) => app.use(compression(), protect)],
    ["behind", (app) => app.use(protect, compression())],
  ])("compresses %s it", async (_where, mount) => {
    const app = express();
    mount(app);
    app.post("/", (_req, res) => res.type("text").send(long));
    const url = await listenTo(app);
    const key = randomUUID();
    const first = await post(url, { key, headers: gzipped });
    const replay = await post(url, { key, headers: gzipped });
    for (const { headers, bytes } of [first, replay]) {
      expect(headers["content-encoding"]).toBe("gzip");
      expect(gunzipSync(bytes).toString()).toBe(long);
    }
    expect(replay.headers["idempotent-replayed"]).toBe("true");
  });

  test("sets its own headers for each request", async () => {
    const app = express();
    app.use((_req, res, next) => {
      res.set({ "X-Request": randomUUID(), "X-Overridden": "outer" });
      next();
    });
    app.use(protect);
    app.post("/", (_req, res) => res.set("X-Overridden", "handler").send("x"));
    const url = await listenTo(app);
    const key = randomUUID();
    const [first, replay] = [await post(url, { key }), await post(url, { key })];
    expect(replay.headers["x-request"]).not.toBe(first.headers["x-request"]);
    expect(replay.headers["x-overridden"]).toBe("handler");
  });

  test("may be the one that knows of requests", async () => {
    const app = express();
    app.use(idempotencyMiddleware(), protect);
    app.post("/", (_req, res) => res.send("x"));
    const url = await listenTo(app);
    const key = randomUUID();
    await post(url, { key });
    expect((await post(url, { key })).headers["idempotent-replayed"]).toBe("true");
  });
});

test("Fastify's hooks change an answer once, and set their headers for each request", async () => {
  const app = fastify();
  app.addHook("onRequest", async (_request, reply) => {
    reply.header("X-Request", randomUUID());
  });
  app.addHook("onSend", async (_request, _reply, payload) => `[${payload}]`);
  await app.register(fastifyIdempotency, { service, scope: () => null });
  app.post("/", async () => "x");
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  const key = randomUUID();
  const [first, replay] = [await post(url, { key }), await post(url, { key })];
  await app.close();
  expect([first.text, replay.text]).toEqual(["[x]", "[x]"]);
  expect(replay.headers["idempotent-replayed"]).toBe("true");
  expect(replay.headers["x-request"]).toMatch(/^[\da-f-]{36}$/);
  expect(replay.headers["x-request"]).not.toBe(first.headers["x-request"]);
});

test("HTTP/2", async () => {
  const server = http2.createServer((req, res) => {
    protect(req, res, () => {
      res.writeHead(201, { "X-One": "1" });
      res.write("one,");
      res.end("two");
    });
  });
  const { url, stop } = await listen(Object.assign(server, { closeAllConnections() {} }));
  const client = http2.connect(url);
  const send = async (key) => {
    const stream = client.request({ ":method": "POST", ":path": "/", "idempotency-key": key });
    const [headers] = await once(stream, "response");
    const bytes = Buffer.concat(await stream.toArray());
    return { headers, text: bytes.toString() };
  };
  const key = randomUUID();
  const [first, replay] = [await send(key), await send(key)];
  expect(first).toMatchObject({ text: "one,two", headers: { ":status": 201, "x-one": "1" } });
  expect(replay).toMatchObject({
    text: "one,two",
    headers: { ":status": 201, "x-one": "1", "idempotent-replayed": "true" },
  });
  client.close();
  await stop();
});
