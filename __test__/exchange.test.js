"use strict";

// The capturing form without a framework: what adapters build on.

const { randomUUID } = require("node:crypto");
const { IdempotencyKeyService } = require("..");
const { Service } = require("../lib/bridge/binding");
const { open } = require("../lib/http/exchange");
const { policyFrom } = require("../lib/http/policy");
const { problemOf } = require("../lib/http/problem");
const { rejection, useDatabase } = require("./helpers/database");
const { eventually, signal } = require("./helpers/flows");
const { startProxy } = require("./helpers/proxy");

const database = useDatabase();
let service;

beforeAll(() => {
  service = database.service();
});

const asked = (given = {}) => ({
  key: randomUUID(),
  method: "POST",
  path: "/orders",
  body: { cart: 1 },
  ...given,
});
const exchangeOf = (request, options = {}, of = service) => open(of, policyFrom(options), request);

async function row(key) {
  const sql = "SELECT * FROM idempotency_key WHERE idempotency_key = $1";
  return (await database.pool.query(sql, [key])).rows[0];
}

test("a request remembers what it has found finished", async () => {
  const exchange = await exchangeOf(asked());
  const call = asked();
  const stages = { started: () => ({ response_code: 200 }) };
  await service.runStages(call, stages);
  expect(service.attemptOf(call.key)).toBeUndefined();
  await exchange.run(async () => {
    for (let retry = 0; retry < 10; retry++) {
      expect(await service.runStages(call, stages)).toMatchObject({ replayed: true });
      expect(service.attemptOf(call.key).began).toBe("finished");
    }
  });
  await exchange.release();
});

test("a request goes on with what it holds already, and begins again what it has given up", async () => {
  const exchange = await exchangeOf(asked());
  await exchange.run(async () => {
    const call = asked({ body: undefined });
    await service.begin(call);
    const stages = { started: () => ({ response_code: 200 }) };
    expect(await service.runStages(call, stages)).toMatchObject({ began: "new", replayed: false });

    const failing = asked();
    const failure = new Error("declined");
    const started = () => Promise.reject(failure);
    expect(await rejection(service.runStages(failing, { started }))).toBe(failure);
    // In one transaction, as if it were the first try.
    const seen = [];
    const again = async () => {
      seen.push(await row(failing.key));
      return { response_code: 200 };
    };
    expect(await service.runStages(failing, { started: again })).toMatchObject({ began: "new" });
    expect(seen).toEqual([undefined]);
  });
  await exchange.release();
});

test("a request is run, finished and replayed", async () => {
  const request = asked();
  const exchange = await exchangeOf(request);
  expect(exchange).toMatchObject({ kind: "run", idempotencyKey: request.key });
  expect(await row(request.key)).toMatchObject({
    request_method: "POST",
    request_path: "/orders",
    recovery_point: "started",
    locked_at: expect.any(Date),
  });
  const answer = { status: 201, headers: { "X-A": "1", "Set-Cookie": "s=1" }, body: "made" };
  await exchange.finish(answer);
  expect(await row(request.key)).toMatchObject({ recovery_point: "finished", locked_at: null });
  expect(await exchangeOf(request)).toStrictEqual({
    kind: "answer",
    answer: {
      status: 201,
      headers: { "x-a": "1", "idempotent-replayed": "true" },
      body: "made",
    },
    idempotencyKey: request.key,
  });
});

test("requests that arrive together begin with one native call, and end with one", async () => {
  await exchangeOf(asked());
  const begin = jest.spyOn(Service.prototype, "begin");
  try {
    const together = Array.from({ length: 8 }, () => exchangeOf(asked()));
    const exchanges = await Promise.all(together);
    expect(begin).toHaveBeenCalledTimes(1);
    await Promise.all(exchanges.map((exchange) => exchange.finish({ status: 201 })));
    expect(begin).toHaveBeenCalledTimes(2);
  } finally {
    begin.mockRestore();
  }
});

test.each([
  ["GET", {}],
  ["PUT", {}],
  ["DELETE", {}],
  ["POST", { methods: ["put"] }],
])("what is not covered passes, whatever it has: %s, %p", async (method, options) => {
  const request = asked({ method, key: "not a key" });
  expect(await exchangeOf(request, { required: true, ...options })).toEqual({ kind: "pass" });
});

test("without a key a request passes, or is refused where one is required", async () => {
  const request = asked({ key: undefined, headers: {} });
  expect(await exchangeOf(request)).toEqual({ kind: "pass" });
  const refused = await exchangeOf(request, { required: true });
  expect(refused).toMatchObject({ kind: "answer", answer: { status: 400 } });
  expect(refused.answer.body).toContain("idempotency_key_required");
  expect(await exchangeOf(asked({ method: "patch" }))).toMatchObject({ kind: "run" });
});

test("a request in progress is refused, and so is another one with its key", async () => {
  const request = asked();
  const exchange = await exchangeOf(request);
  const refusals = [
    [request, 409, "idempotency_key_in_use"],
    [{ ...request, body: {} }, 422, "idempotency_key_reused"],
    [{ ...request, key: "a b" }, 400, "invalid_idempotency_key"],
    [{ ...request, params: { id: "\0" } }, 400, "invalid_request"],
  ];
  for (const [given, status, code] of refusals) {
    const { kind, answer } = await exchangeOf(given);
    expect([kind, answer.status, JSON.parse(answer.body).code]).toEqual(["answer", status, code]);
  }
  await exchange.release();
});

test.each([
  [200, true],
  [204, true],
  [303, true],
  [404, true],
  [422, true],
  [409, false],
  [425, false],
  [429, false],
  [500, false],
  [503, false],
])("an answer with status %i is kept: %p", async (status, isKept) => {
  const request = asked();
  await (await exchangeOf(request)).finish({ status, headers: {}, body: "b" });
  const again = await exchangeOf(request);
  expect(again.kind).toBe(isKept ? "answer" : "run");
  await again.release?.();
});

test("keep() decides otherwise", async () => {
  const request = asked();
  const options = { keep: (status) => status === 500 };
  await (await exchangeOf(request, options)).finish({ status: 200 });
  const second = await exchangeOf(request, options);
  expect(second.kind).toBe("run");
  await second.finish({ status: 500 });
  expect((await exchangeOf(request, options)).answer.status).toBe(500);
});

test("an answer that cannot be stored leaves the request to run out, not to be tried at once", async () => {
  const thrown = new Error("keep");
  const keep = () => {
    throw thrown;
  };
  const careful = database.service({ leaseTimeout: 300, onInterrupted: "refuse" });
  const request = asked();
  const exchange = await exchangeOf(request, { keep }, careful);
  expect(await rejection(exchange.finish({ status: 200 }))).toBe(thrown);
  const seen = await eventually(async () => {
    const { answer } = await exchangeOf(request, {}, careful);
    const code = answer && JSON.parse(answer.body).code;
    return code !== "idempotency_key_in_use" && { code };
  });
  expect(seen).toEqual({ code: "idempotency_key_interrupted" });
});

test("a body that was not collected is finished all the same", async () => {
  const request = asked();
  await (await exchangeOf(request)).finish({ status: 200, headers: {}, truncated: true });
  expect((await exchangeOf(request)).answer).toMatchObject({ status: 410 });
});

test("a handler that fails releases the request at once", async () => {
  const request = asked();
  await (await exchangeOf(request)).release();
  const again = await exchangeOf(request);
  expect(again.kind).toBe("run");
  await again.finish({ status: 200 });
});

test("the lease lives as long as the handler runs", async () => {
  const brief = database.service({ leaseTimeout: 600 });
  const request = asked();
  const exchange = await exchangeOf(request, {}, brief);
  const { locked_at } = await row(request.key);
  await database.until(
    `EXISTS (SELECT FROM idempotency_key WHERE idempotency_key = '${request.key}'
       AND locked_at > '${locked_at.toISOString()}'::timestamptz + interval '1 second')`,
  );
  expect((await exchangeOf(request, {}, brief)).answer.status).toBe(409);
  await exchange.finish({ status: 200 });
  expect((await exchangeOf(request, {}, brief)).answer.status).toBe(200);
});

test("one whose lease was lost does not store its answer", async () => {
  const request = asked();
  const exchange = await exchangeOf(request);
  await database.pool.query(
    "UPDATE idempotency_key SET locked_at = '2020-01-01' WHERE idempotency_key = $1",
    [request.key],
  );
  const other = await exchangeOf(request, {}, database.service());
  expect(other.kind).toBe("run");
  const error = await rejection(exchange.finish({ status: 200, body: "late" }));
  expect(problemOf(error)).toMatchObject({
    status: 409,
    headers: { "retry-after": "1" },
    body: expect.stringContaining('"lease_lost"'),
  });
  await other.finish({ status: 200, body: "taken over" });
  expect((await exchangeOf(request)).answer.body).toBe("taken over");
});

describe("calls inside of run()", () => {
  test("belong to the attempt", async () => {
    const request = asked();
    const exchange = await exchangeOf(request);
    const own = randomUUID();
    await exchange.run(async () => {
      expect(service.attemptOf(request.key).began).toBe("new");
      const held = await service.initializeRequest(request.key, "POST", undefined, "/orders");
      expect(held.recovery_point).toBe("started");
      // A key of the handler's own is one of this request, too, and is released with it.
      await service.initializeRequest(own, "POST", {}, "/inner");
    });
    expect(service.attemptOf(request.key)).toBeUndefined();
    await exchange.finish({ status: 200, body: "x" });
    expect(await row(own)).toMatchObject({ recovery_point: "started", locked_at: null });
  });

  test("may finish the request themselves: that answer stays", async () => {
    const request = asked();
    const exchange = await exchangeOf(request);
    const { response_code } = await exchange.run(() =>
      service.runStages(
        { key: request.key, method: "POST", path: "/orders", body: { cart: 1 } },
        { started: () => ({ response_code: 201, response_body: { own: true } }) },
      ),
    );
    expect(response_code).toBe(201);
    await exchange.finish({ status: 201, body: '{"sent":true}' });
    expect((await exchangeOf(request)).answer).toMatchObject({ body: '{"own":true}' });
  });

  test("may release the request themselves: it can be tried again", async () => {
    const request = asked();
    const exchange = await exchangeOf(request);
    await exchange.run(() => service.release(request.key));
    await exchange.finish({ status: 200, body: "x" });
    const again = await exchangeOf(request);
    expect(again.kind).toBe("run");
    await again.release();
  });
});

describe("a database that cannot be reached", () => {
  const away = () =>
    database.closed(
      new IdempotencyKeyService({}, { databaseUrl: "postgres://u:secret@127.0.0.1:1/none" }),
    );

  test("refuses requests with 503", async () => {
    const { kind, answer } = await exchangeOf(asked(), {}, away());
    expect([kind, answer.status, answer.headers["retry-after"]]).toEqual(["answer", 503, "1"]);
  });

  test('lets them pass where onUnavailable is "run"', async () => {
    const emitWarning = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
    const options = { onUnavailable: "run" };
    expect(await exchangeOf(asked(), options, away())).toEqual({ kind: "pass" });
    expect(await exchangeOf(asked(), options, away())).toEqual({ kind: "pass" });
    expect(emitWarning.mock.calls.map(([, { code }]) => code)).toEqual(["IDEMPOTENCY_UNAVAILABLE"]);
    emitWarning.mockRestore();
  });

  test("is waited for when an answer is to be stored", async () => {
    const proxy = await startProxy(database.url);
    const behind = database.closed(new IdempotencyKeyService({}, { databaseUrl: proxy.url }));
    const request = asked();
    const exchange = await exchangeOf(request, {}, behind);
    proxy.refuse();
    proxy.cut();
    const finished = exchange.finish({ status: 201, body: "made" });
    await eventually(() => proxy.refusals() > 0);
    proxy.accept();
    await finished;
    expect((await exchangeOf(request)).answer).toMatchObject({ status: 201, body: "made" });
    await behind.close();
    await proxy.close();
  });

  test("for longer than a lease leaves the request to run out, not to be tried at once", async () => {
    const proxy = await startProxy(database.url);
    const behind = database.closed(
      new IdempotencyKeyService({}, { databaseUrl: proxy.url, leaseTimeout: 900 }),
    );
    const request = asked();
    const exchange = await exchangeOf(request, {}, behind);
    proxy.refuse();
    proxy.cut();
    const error = await rejection(exchange.finish({ status: 201, body: "made" }));
    expect(problemOf(error)).toMatchObject({ status: 503 });
    const careful = database.service({ leaseTimeout: 900, onInterrupted: "refuse" });
    const seen = await eventually(async () => {
      const { answer } = await exchangeOf(request, {}, careful);
      return JSON.parse(answer.body).code === "idempotency_key_interrupted" && answer;
    });
    expect(seen.status).toBe(409);
    expect(seen.headers["retry-after"]).toBeUndefined();
    await behind.close();
    await proxy.close();
  });
});

test("what is no refusal rejects", async () => {
  const tableless = database.service({ schema: "nowhere" });
  expect(await rejection(exchangeOf(asked(), {}, tableless))).toMatchObject({ code: "42P01" });
  const medusa = database.service({ mode: "medusa" });
  expect(await rejection(exchangeOf(asked(), {}, medusa))).toMatchObject({
    code: "invalid_option",
  });
});

test("a service of another copy of the package is driven as well", async () => {
  let other;
  jest.isolateModules(() => {
    other = require("..");
  });
  const foreign = database.closed(
    new other.IdempotencyKeyService({}, { databaseUrl: database.url }),
  );
  const request = asked();
  const exchange = await exchangeOf(request, {}, foreign);
  const [begun, end] = [signal(), signal()];
  const handler = exchange.run(async () => {
    begun.send();
    await end.sent;
  });
  await begun.sent;
  expect((await exchangeOf(request)).answer.status).toBe(409);
  end.send();
  await handler;
  await exchange.finish({ status: 200, body: "of the other" });
  expect((await exchangeOf(request)).answer.body).toBe("of the other");
});
