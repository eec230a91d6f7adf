"use strict";

// What of an answer is kept, and what its replay has: on a table with the column for headers and on one without.

const { randomUUID } = require("node:crypto");
const { gzipSync } = require("node:zlib");
const { CAPTURING, policyFrom } = require("../lib/http/policy");
const { open } = require("../lib/http/exchange");
const { useDatabase } = require("./helpers/database");
const { openTypeOrm } = require("./helpers/flows");

const database = useDatabase();
const services = {};

beforeAll(async () => {
  jest.spyOn(process, "emitWarning").mockImplementation(() => {});
  for (const schema of ["with_column", "without_column"]) {
    services[schema] = database.service({ schema });
    await services[schema].migrate();
  }
  await dropColumn("without_column");
});

afterAll(() => jest.restoreAllMocks());

function dropColumn(schema) {
  return database.pool.query(`ALTER TABLE ${schema}.idempotency_key DROP COLUMN response_headers`);
}

const asked = () => ({ key: randomUUID(), method: "POST", path: "/orders", body: {} });
const bytes = (body) => (body === null ? null : Buffer.from(body));

/** An answer of the staged form, and of its replay. */
async function staged(service, answer) {
  const request = asked();
  const first = await service.handle(request, () => answer);
  const again = await service.handle(request, () => {
    throw new Error("the work was done again");
  });
  expect([first.replayed, again.replayed]).toEqual([false, true]);
  return [first, again];
}

/** An answer of the capturing form, and of its replay. */
async function captured(service, answer) {
  const policy = policyFrom({});
  const request = asked();
  const exchange = await open(service, policy, request);
  expect(exchange.kind).toBe("run");
  await exchange.finish(answer);
  const again = await open(service, policy, request);
  expect(again.kind).toBe("answer");
  return [{ headers: {}, body: null, ...answer }, again.answer];
}

const BODIES = {
  "JSON whose order PostgreSQL would change": { zz: 1, b: { y: [], x: null }, a: 1.5 },
  "JSON with text of all kinds": { text: "é ‹ \u0001 \u007f \u2028 😀", 键: "值" },
  "JSON with U+0000 and half a surrogate pair": { text: "a\0b\ud800" },
  "a number": 0,
  "a boolean": false,
  "an empty array": [],
  "plain text": "Bonjour, ça va?\r\n\t",
  "text that looks like JSON": '{"a": 1,\n "a": 2}',
  "text that looks like a number": "12345678901234567890.10",
  "text with U+0000": "a\0b",
  "text that looks like an envelope": '{":encoding":"base64",":body":"AAAA"}',
  "an object that looks like an envelope": {
    ":truncated": true,
    ":encoding": "base64",
    ":body": "",
  },
  "bytes of text": Buffer.from("\ufeffBOM and é"),
  "bytes that are no text": Buffer.from([0x89, 0x50, 0xff, 0x00, 0x0a, 0xc3]),
  "a Uint8Array in the middle of a buffer": new Uint8Array([9, 9, 0, 1, 2, 9]).subarray(2, 5),
  "an ArrayBuffer": new Uint8Array([0xff, 0xfe]).buffer,
  "a long body": { text: "x".repeat(50_000) },
  "an empty text": "",
  "no bytes": Buffer.alloc(0),
  nothing: undefined,
  null: null,
};

describe.each(["with_column", "without_column"])("%s", (schema) => {
  describe.each(["alone", "in TypeORM's transactions"])("%s", (place) => {
    test.each(Object.entries(BODIES))("a replay is byte for byte the same: %s", async (_, body) => {
      const service =
        place === "alone" ? services[schema] : (await openTypeOrm(database)).service({ schema });
      const [first, again] = await staged(service, { status: 201, body });
      expect(again.status).toBe(201);
      expect(bytes(again.body)).toEqual(bytes(first.body));
      if (schema === "with_column") {
        expect(again.headers).toEqual({ ...first.headers, "idempotent-replayed": "true" });
      }
    });
  });

  const CAPTURED = ["plain text", "bytes that are no text", "text with U+0000", "no bytes", "null"];

  test.each(CAPTURED)("what was captured, too: %s", async (name) => {
    const body = BODIES[name];
    const [first, again] = await captured(services[schema], { status: 404, body });
    expect(again.status).toBe(404);
    expect(bytes(again.body) ?? Buffer.alloc(0)).toEqual(bytes(first.body) ?? Buffer.alloc(0));
  });

  test.each([200, 201, 202, 204, 303, 304, 307, 400, 404, 418, 500, 599])(
    "a status is kept: %i",
    async (status) => {
      const headers = { Location: "/elsewhere" };
      const [, again] = await staged(services[schema], { status, headers });
      expect(again).toMatchObject({ status, body: null });
      expect(again.headers.location).toBe(schema === "with_column" ? "/elsewhere" : undefined);
    },
  );

  test("what other methods have stored is an answer, too", async () => {
    const service = services[schema];
    const request = asked();
    const stages = { started: () => ({ response_code: 201, response_body: { order: 1 } }) };
    await service.runStages(request, stages);
    expect(await service.handle(request, () => ({}))).toMatchObject({
      status: 201,
      headers: { "content-type": "application/json" },
      body: '{"order":1}',
      replayed: true,
    });
    const bare = asked();
    await service.runStages(bare, { started: () => ({}) });
    expect(await service.handle(bare, () => ({}))).toMatchObject({
      status: 200,
      headers: { "idempotent-replayed": "true" },
      body: null,
    });
  });

  test("many replays at once have their own answers", async () => {
    const service = services[schema];
    const requests = Array.from({ length: 40 }, asked);
    const answer = (number) => () => ({ headers: { "x-n": String(number) }, body: { number } });
    await Promise.all(requests.map((request, n) => service.handle(request, answer(n))));
    const again = await Promise.all(requests.map((request) => service.handle(request, answer(-1))));
    for (const [number, { body, headers, replayed }] of again.entries()) {
      expect([body, replayed]).toEqual([JSON.stringify({ number }), true]);
      expect(headers["x-n"]).toBe(schema === "with_column" ? String(number) : undefined);
    }
  });
});

test("the type of a body is told, where it is not given and where no headers are kept", async () => {
  const types = { json: {}, text: "x", bytes: Buffer.from([0]), none: undefined };
  const expected = {
    json: "application/json",
    text: "text/plain; charset=utf-8",
    bytes: "application/octet-stream",
    none: undefined,
  };
  for (const [kind, body] of Object.entries(types)) {
    const [first, again] = await staged(services.without_column, { body });
    expect(first.headers["content-type"]).toBe(expected[kind]);
    expect(again.headers["content-type"]).toBe(expected[kind]);
  }
  const [own] = await staged(services.with_column, {
    headers: { "Content-Type": "a/b" },
    body: {},
  });
  expect(own.headers).toEqual({ "content-type": "a/b" });
});

test("a compressed body is kept only with the header that says so", async () => {
  const answer = {
    status: 200,
    headers: { "Content-Encoding": "gzip" },
    body: gzipSync("{}"),
  };
  const [, again] = await captured(services.with_column, answer);
  expect(again.body.equals(answer.body)).toBe(true);
  expect(again.headers["content-encoding"]).toBe("gzip");
  const [, refused] = await captured(services.without_column, answer);
  expect(refused.status).toBe(410);
  expect(JSON.parse(refused.body)).toMatchObject({
    code: "idempotency_answer_not_kept",
    original_status: 200,
  });
});

const HEADERS = {
  "Content-Type": "application/vnd.api+json",
  Location: "/orders/1",
  ETag: '"1"',
  "Cache-Control": "no-store",
  "X-Own": ["a", "b"],
  "X-Number": 7,
  "X-Latin": "caf\xe9",
};
const DROPPED = {
  "Set-Cookie": ["session=1", "b=2"],
  Connection: "close, X-Hop",
  "X-Hop": "1",
  "Keep-Alive": "timeout=5",
  "Transfer-Encoding": "chunked",
  Trailer: "X-T",
  TE: "trailers",
  Upgrade: "h2c",
  "Proxy-Authenticate": "Basic",
  Date: "Mon, 01 Jan 2024 00:00:00 GMT",
  "Content-Length": "2",
  "Idempotent-Replayed": "no",
};
const KEPT = {
  "content-type": "application/vnd.api+json",
  location: "/orders/1",
  etag: '"1"',
  "cache-control": "no-store",
  "x-own": ["a", "b"],
  "x-number": "7",
  "x-latin": "caf\xe9",
};

test.each([
  ["staged", staged],
  ["captured", captured],
])("headers of the answer alone are kept, never cookies: %s", async (_, answered) => {
  const answer = { status: 200, headers: { ...HEADERS, ...DROPPED }, body: "{}" };
  const [, again] = await answered(services.with_column, answer);
  expect(again.headers).toEqual({ ...KEPT, "idempotent-replayed": "true" });
  const { rows } = await database.pool.query(
    "SELECT response_headers FROM with_column.idempotency_key WHERE response_headers->>'etag' IS NOT NULL",
  );
  for (const { response_headers } of rows) {
    expect(response_headers).toEqual(KEPT);
  }
});

test("keys have their ten columns, with headers and without", async () => {
  const request = asked();
  await services.with_column.handle(request, () => ({ headers: { "x-a": "1" }, body: "text" }));
  const key = await services.with_column.retrieve(request.key);
  expect(Object.keys(key)).toHaveLength(10);
  expect(key.response_body).toBe("text");
});

describe("a column that comes and goes", () => {
  /** A table whose column is dropped after a process has seen it. */
  async function dropped(schema) {
    const service = database.service({ schema });
    await service.migrate();
    await staged(service, { body: "seen" });
    await dropColumn(schema);
    return service;
  }

  test("a captured answer is stored without it", async () => {
    const service = await dropped("gone_captured");
    const request = asked();
    const policy = policyFrom(CAPTURING);
    // A new request needs no column yet.
    await database.pool.query(
      "ALTER TABLE gone_captured.idempotency_key ADD response_headers jsonb",
    );
    const exchange = await open(service, policy, request);
    await dropColumn("gone_captured");
    await exchange.finish({ status: 201, headers: { "x-a": "1" }, body: "done" });
    expect((await open(service, policy, request)).answer).toMatchObject({
      status: 201,
      body: "done",
    });
  });

  test("a stage fails once, and is done by the next try", async () => {
    const service = await dropped("gone_staged");
    const request = asked();
    await expect(service.handle(request, () => ({}))).rejects.toMatchObject({ code: "42703" });
    expect(await service.handle(request, () => ({}))).toMatchObject({ replayed: false });
  });

  test("answers from before it have no headers, and those after it have", async () => {
    const service = database.service({ schema: "late" });
    await service.migrate();
    await dropColumn("late");
    const request = asked();
    await service.handle(request, () => ({ headers: { "x-a": "1" }, body: { a: 1 } }));
    await service.migrate();
    expect((await service.handle(request, () => ({}))).headers).toEqual({
      "content-type": "application/json",
      "idempotent-replayed": "true",
    });
    const [, again] = await staged(service, { headers: { "x-a": "1" } });
    expect(again.headers["x-a"]).toBe("1");
  });
});

test("that headers are not kept is told once", async () => {
  process.emitWarning.mockClear();
  const service = database.service({ schema: "untold" });
  await service.migrate();
  await dropColumn("untold");
  await staged(service, {});
  await staged(service, {});
  const told = process.emitWarning.mock.calls.map(([message]) => message);
  expect(told.filter((message) => message.includes("response_headers"))).toHaveLength(1);
});
