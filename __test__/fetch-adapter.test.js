"use strict";

// What only the Fetch standard has: bodies that can be read once, and responses that are values. And what every
// adapter refuses before any request comes.

const { randomUUID } = require("node:crypto");
const { idempotency, staged } = require("../lib/http/fetch");
const { Idempotent, IdempotencyInterceptor } = require("../lib/http/nest");
const { useDatabase } = require("./helpers/database");
const { eventually } = require("./helpers/flows");

const LIMIT = 1024;

const database = useDatabase();
let service;
let protect;

beforeAll(async () => {
  service = database.service();
  await service.migrate();
  protect = idempotency(service, { scope: () => null, maxResponseBytes: LIMIT });
});

function requestWith(key, body, headers = {}) {
  return new Request("http://shop/orders?page=1", {
    method: "POST",
    headers: { ...(key && { "Idempotency-Key": key }), ...headers },
    body,
  });
}

const isReplay = (response) => response.headers.get("idempotent-replayed") === "true";

describe("a request's body", () => {
  const echo = async (request) => new Response(await request.text());

  test.each([
    ["text", "plain text", {}],
    ["JSON that is none", "{", { "Content-Type": "application/json" }],
    ["longer than what is compared", "x".repeat(2 ** 21), {}],
    ["empty", "", {}],
    ["none", undefined, {}],
  ])("is left to the handler: %s", async (_what, body, headers) => {
    const handler = idempotency(service, { scope: () => null, maxResponseBytes: 2 ** 22 })(echo);
    const key = randomUUID();
    const first = await handler(requestWith(key, body, headers));
    expect(await first.text()).toBe(body ?? "");
    const replay = await handler(requestWith(key, body, headers));
    expect(isReplay(replay)).toBe(true);
    expect(await replay.text()).toBe(body ?? "");
  });

  test("is not read without a key", async () => {
    const request = requestWith(undefined, "text");
    request.clone = () => {
      throw new Error("the body is read");
    };
    expect(await (await protect(echo)(request)).text()).toBe("text");
  });

  test.each([
    ["bytes", "one", "two"],
    ["the beginning of long ones", "a".repeat(2 ** 21), `b${"a".repeat(2 ** 21)}`],
  ])("is compared: %s", async (_what, one, other) => {
    const key = randomUUID();
    expect((await protect(() => new Response())(requestWith(key, one))).status).toBe(200);
    expect((await protect(() => new Response())(requestWith(key, other))).status).toBe(422);
  });

  test("is the same form with another boundary", async () => {
    const form = (item) => {
      const data = new FormData();
      data.set("item", item);
      return data;
    };
    const handler = protect(
      async (request) => new Response((await request.formData()).get("item")),
    );
    const key = randomUUID();
    expect(await (await handler(requestWith(key, form("tea")))).text()).toBe("tea");
    expect(isReplay(await handler(requestWith(key, form("tea"))))).toBe(true);
    expect((await handler(requestWith(key, form("milk")))).status).toBe(422);
  });
});

describe("a response", () => {
  test("keeps its status text and its cookies, the first time", async () => {
    const answer = new Response("x", { status: 202, statusText: "Well done" });
    answer.headers.append("Set-Cookie", "a=1");
    answer.headers.append("Set-Cookie", "b=2");
    const first = await protect(() => answer)(requestWith(randomUUID()));
    expect([first.status, first.statusText]).toEqual([202, "Well done"]);
    expect(first.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
  });

  test.each([
    ["a redirect", () => Response.redirect("http://shop/there", 303), 303],
    ["nothing", () => new Response(null, { status: 205 }), 205],
  ])("may be %s", async (_what, answer, status) => {
    const key = randomUUID();
    const first = await protect(answer)(requestWith(key));
    const replay = await protect(answer)(requestWith(key));
    expect([first.status, replay.status]).toEqual([status, status]);
    expect(replay.headers.get("location")).toBe(first.headers.get("location"));
    expect(isReplay(replay)).toBe(true);
  });

  test("that is an error of the network releases the request", async () => {
    const key = randomUUID();
    const answer = await protect(() => Response.error())(requestWith(key));
    expect(answer.type).toBe("error");
    expect(isReplay(await protect(() => new Response())(requestWith(key)))).toBe(false);
  });

  const failing = (chunk) =>
    async function* () {
      yield Buffer.from(chunk);
      throw new Error("the source fails");
    };

  test.each([
    ["soon", "x"],
    ["after much", "x".repeat(2 * LIMIT)],
  ])("whose source fails %s releases the request", async (_when, chunk) => {
    const key = randomUUID();
    const fail = () => new Response(ReadableStream.from(failing(chunk)()));
    const read = async () => (await protect(fail)(requestWith(key))).text();
    await expect(read()).rejects.toThrow("the source fails");
    expect(isReplay(await protect(() => new Response())(requestWith(key)))).toBe(false);
  });

  test("that is too long is finished when its client goes", async () => {
    const key = randomUUID();
    const endless = () =>
      new Response(new ReadableStream({ pull: (one) => one.enqueue(Buffer.alloc(LIMIT)) }));
    const { body } = await protect(endless)(requestWith(key));
    await body.cancel();
    const retry = await eventually(async () => {
      const answer = await protect(endless)(requestWith(key));
      return answer.status !== 409 && answer;
    });
    expect((await retry.json()).code).toBe("idempotency_answer_not_kept");
  });

  test("has what comes after the request", async () => {
    const handler = protect((_request, { params }) => new Response(params.id));
    expect(await (await handler(requestWith(), { params: { id: "7" } })).text()).toBe("7");
  });
});

test("stages go on from their recovery points, with the request and the attempt", async () => {
  const seen = [];
  const handler = staged(
    service,
    {
      started: (_tx, request, attempt) => {
        seen.push(request.url, attempt.idempotency_key);
        return { recovery_point: "paid" };
      },
      paid: async (tx, request) => {
        const [{ one }] = await tx.query("SELECT 1 AS one");
        return { status: 201, body: { one, method: request.method } };
      },
    },
    { scope: () => null },
  );
  const key = randomUUID();
  const answer = await handler(requestWith(key));
  expect(answer.status).toBe(201);
  expect(await answer.json()).toEqual({ one: 1, method: "POST" });
  expect(seen).toEqual(["http://shop/orders?page=1", key]);
});

describe("is refused before any request comes", () => {
  const invalid = (code) => expect.objectContaining({ type: "invalid_argument", code });

  test.each(["express", "hono", "koa", "fetch"])("%s", (name) => {
    const adapter = require(`../lib/http/${name}`);
    expect(() => adapter.idempotency({})).toThrow(
      "has to be an IdempotencyKeyService, not an object",
    );
    expect(() => adapter.idempotency(service, { keys: 1 })).toThrow(invalid("invalid_option"));
    expect(() => adapter.staged(undefined, () => ({}))).toThrow(
      "IdempotencyKeyService, not undefined",
    );
    expect(() => adapter.staged(service, { started: 1 })).toThrow('stage "started"');
    expect(() => adapter.staged(service, "work")).toThrow("stages is an object of functions");
  });

  test("fastify", async () => {
    const app = require("fastify")();
    app.register(require("../lib/http/fastify").idempotency, { required: true });
    await expect(app.ready()).rejects.toThrow("IdempotencyKeyService, not undefined");
  });

  test("nest", () => {
    expect(() => new IdempotencyInterceptor({})).toThrow("IdempotencyKeyService");
    expect(() => new IdempotencyInterceptor(service, { keys: 1 })).toThrow(
      invalid("invalid_option"),
    );
    expect(() => Idempotent({ keys: 1 })).toThrow(invalid("invalid_option"));
  });
});
