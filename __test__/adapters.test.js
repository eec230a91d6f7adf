"use strict";

// The same expectations of every adapter, over HTTP.

const { randomUUID } = require("node:crypto");
const { useDatabase } = require("./helpers/database");
const { eventually, signal } = require("./helpers/flows");
const { ask, lastingHeaders } = require("./helpers/http-client");
const { ADAPTERS, tenantOf } = require("./helpers/adapters");
const { ANSWERS, LARGE, LIMIT } = require("./helpers/adapters/routes");

/** Those whose handlers have Node's response to destroy. */
const ON_NODE = ["express-4", "express-5", "fastify", "koa", "nest-express", "nest-fastify"];

const database = useDatabase();
let service;

beforeAll(async () => {
  service = database.service();
  await service.migrate();
  await database.pool.query("CREATE TABLE effects (name text)");
});

describe.each(ADAPTERS)("%s", (adapter) => {
  const start = require(`./helpers/adapters/${adapter}`);
  const apps = new Set();
  /** How often work was done, by its name. */
  let effects;
  let app;

  /** The work of all routes. `waits` in the body: until the signal of that name is sent. */
  async function work(name, { waits }) {
    effects[name] = (effects[name] ?? 0) + 1;
    await gates[waits]?.sent;
  }
  let gates;

  async function startWith(options) {
    const given = { maxResponseBytes: LIMIT, scope: () => null, ...options };
    const started = await start({ service, options: given, work });
    apps.add(started);
    return started;
  }

  beforeAll(async () => {
    app = await startWith();
  });

  beforeEach(() => {
    effects = {};
    gates = {};
  });

  afterAll(() => Promise.all([...apps].map((one) => one.stop())));

  const post = (name, options) => ask(`${app.url}/${name}`, options).answer;

  /** The answer to a request that is not in progress any more. */
  const postSoon = (name, options) =>
    eventually(async () => {
      const answer = await post(name, options);
      return answer.status !== 409 && answer;
    });

  test.each(Object.entries(ANSWERS))("replays %s as it was sent", async (name, expected) => {
    const [status, body, headers] = expected;
    const key = randomUUID();
    const first = await post(name, { key });
    expect(first).toMatchObject({ status, headers: matching(headers) });
    expect(first.headers).not.toHaveProperty("idempotent-replayed");
    if (body !== undefined) {
      expect(first.bytes).toEqual(Buffer.from(body));
    }
    const replay = await post(name, { key });
    expect(replay.status).toBe(status);
    expect(replay.bytes).toEqual(first.bytes);
    expect(lastingHeaders(replay.headers)).toEqual(lastingHeaders(first.headers));
    expect(replay.headers["idempotent-replayed"]).toBe("true");
    expect(effects).toEqual({ [name]: 1 });
  });

  test("never replays a cookie", async () => {
    const key = randomUUID();
    const first = await post("json", { key });
    expect(first.headers["set-cookie"].join()).toContain("session=secret");
    expect((await post("json", { key })).headers).not.toHaveProperty("set-cookie");
  });

  test("does the work of concurrent duplicates once", async () => {
    const key = randomUUID();
    gates.open = signal();
    const options = { key, body: { waits: "open" } };
    const first = post("json", options);
    await eventually(() => effects.json);
    const others = await Promise.all(Array.from({ length: 7 }, () => post("json", options)));
    for (const { status, headers, body } of others) {
      expect(status).toBe(409);
      expect(headers).toMatchObject({ "retry-after": "1", "content-type": PROBLEM });
      expect(body).toMatchObject({ status: 409, code: "idempotency_key_in_use" });
    }
    gates.open.send();
    expect((await first).status).toBe(201);
    expect((await post("json", options)).headers["idempotent-replayed"]).toBe("true");
    expect(effects).toEqual({ json: 1 });
  });

  test.each([
    ["body", "json", { body: { other: true } }],
    ["path", "text", {}],
    ["query", "json?page=2", {}],
  ])("answers 422 to another %s", async (_what, path, options) => {
    const key = randomUUID();
    await post("json", { key, body: { a: 1 } });
    const { status, headers, body } = await post(path, { body: { a: 1 }, ...options, key });
    expect(status).toBe(422);
    expect(headers["content-type"]).toBe(PROBLEM);
    expect(body).toMatchObject({ status: 422, code: "idempotency_key_reused" });
    expect(effects).toEqual({ json: 1 });
  });

  test("takes bodies with properties in another order for the same", async () => {
    const key = randomUUID();
    await post("json", { key, body: { a: 1, b: 2 } });
    const { status } = await post("json", { key, body: { b: 2, a: 1 } });
    expect(status).toBe(201);
    expect(effects).toEqual({ json: 1 });
  });

  test("lets requests without a key pass by", async () => {
    await post("json");
    const { status, headers } = await post("json");
    expect(status).toBe(201);
    expect(headers).not.toHaveProperty("idempotent-replayed");
    expect(effects).toEqual({ json: 2 });
  });

  test("answers 400 where a key is required, and to a malformed one", async () => {
    const strict = await startWith({ required: true });
    const missing = await ask(`${strict.url}/json`).answer;
    expect(missing).toMatchObject({ status: 400, body: { code: "idempotency_key_required" } });
    const malformed = await post("json", { key: "not a key" });
    expect(malformed).toMatchObject({ status: 400, body: { code: "invalid_idempotency_key" } });
    expect([missing, malformed].map(({ headers }) => headers["content-type"])).toEqual([
      PROBLEM,
      PROBLEM,
    ]);
    expect(effects).toEqual({});
  });

  test("tells scopes apart", async () => {
    const scoped = await startWith({ scope: tenantOf });
    const key = randomUUID();
    const asTenant = (tenant) =>
      ask(`${scoped.url}/json`, { key, headers: { "X-Tenant": tenant } }).answer;
    expect((await asTenant("a")).headers).not.toHaveProperty("idempotent-replayed");
    expect((await asTenant("b")).headers).not.toHaveProperty("idempotent-replayed");
    expect(effects).toEqual({ json: 2 });
    expect((await asTenant("a")).headers["idempotent-replayed"]).toBe("true");
    expect(effects).toEqual({ json: 2 });
  });

  test.each(["json", "stream", "bytes"])(
    "stores %s of a handler that goes on after its client has hung up",
    async (name) => {
      const key = randomUUID();
      gates.open = signal();
      const options = { key, body: { waits: "open" } };
      const gone = ask(`${app.url}/${name}`, options);
      await eventually(() => effects[name]);
      gone.hangUp();
      await gone.answer.catch(() => {});
      expect((await post(name, options)).status).toBe(409);
      gates.open.send();
      const replay = await postSoon(name, options);
      expect(replay.status).toBe(ANSWERS[name][0]);
      expect(replay.bytes).toEqual(Buffer.from(ANSWERS[name][1]));
      expect(replay.headers["idempotent-replayed"]).toBe("true");
      expect(effects).toEqual({ [name]: 1 });
    },
  );

  test("releases a request that the framework answers with 500", async () => {
    const key = randomUUID();
    expect((await post("broken", { key })).status).toBe(500);
    const { status, headers } = await post("broken", { key });
    expect(status).toBe(500);
    expect(headers).not.toHaveProperty("idempotent-replayed");
    expect(effects).toEqual({ broken: 2 });
  });

  test("sends an answer whole that is too long to be kept, and does its work once", async () => {
    const key = randomUUID();
    const { status, text } = await post("large", { key });
    expect(status).toBe(200);
    expect(text).toBe(LARGE.join(""));
    const retry = await postSoon("large", { key });
    expect(retry.body).toMatchObject({ code: "idempotency_answer_not_kept" });
    expect(retry.headers["content-type"]).toBe(PROBLEM);
    expect(effects).toEqual({ large: 1 });
  });

  test("sends a problem in place of an answer that could not be stored", async () => {
    const key = randomUUID();
    gates.open = signal();
    const first = post("json", { key, body: { waits: "open" } });
    await eventually(() => effects.json);
    await database.pool.query(
      "UPDATE idempotency_key SET locked_at = now() + interval '1 h' WHERE idempotency_key = $1",
      [key],
    );
    gates.open.send();
    const { status, headers, body } = await first;
    expect([status, body.code, headers["content-type"]]).toEqual([409, "lease_lost", PROBLEM]);
    expect(headers).not.toHaveProperty("x-own");
    expect(headers).not.toHaveProperty("set-cookie");
  });

  const onNode = ON_NODE.includes(adapter) ? test : test.skip;
  onNode("releases a request whose handler destroys its response", async () => {
    const key = randomUUID();
    await expect(post("destroyed", { key })).rejects.toThrow();
    await eventually(async () => {
      await post("destroyed", { key }).catch(() => {});
      return effects.destroyed === 2;
    });
  });

  describe("staged", () => {
    const orders = async (id) => {
      const sql = "SELECT count(*)::int AS made FROM effects WHERE name = $1";
      return (await database.pool.query(sql, [`order ${id}`])).rows[0].made;
    };
    const order = (id, options) => post(`staged/${id}`, options);

    test("commits work and answer together, and replays", async () => {
      const [key, id] = [randomUUID(), randomUUID().slice(0, 8)];
      const first = await order(id, { key, body: { items: [2, 1] } });
      expect(first).toMatchObject({ status: 201, headers: { "x-order": id } });
      expect(first.text).toBe(JSON.stringify({ order: id, items: [2, 1], filling: null }));
      expect(first.headers).not.toHaveProperty("idempotent-replayed");
      const replay = await order(id, { key, body: { items: [2, 1] } });
      expect(replay.bytes).toEqual(first.bytes);
      expect(lastingHeaders(replay.headers)).toEqual(lastingHeaders(first.headers));
      expect(replay.headers["idempotent-replayed"]).toBe("true");
      expect((await order(id, { key, body: { items: [] } })).status).toBe(422);
      expect(await orders(id)).toBe(1);
    });

    test("rolls back what fails, which the framework answers", async () => {
      const key = randomUUID();
      expect((await order("broken", { key })).status).toBe(500);
      expect((await order("broken", { key })).status).toBe(500);
      expect(effects).toEqual({ broken: 2 });
      expect(await orders("broken")).toBe(0);
    });

    test("does the work of concurrent duplicates once", async () => {
      const [key, id] = [randomUUID(), randomUUID().slice(0, 8)];
      const answers = await Promise.all(Array.from({ length: 8 }, () => order(id, { key })));
      const statuses = new Set(answers.map(({ status }) => status));
      expect([...statuses].filter((status) => ![201, 409].includes(status))).toEqual([]);
      expect(await orders(id)).toBe(1);
    });
  });
});

const PROBLEM = "application/problem+json";

/** Headers of an expectation, whose values may be regular expressions. */
function matching(headers) {
  const values = Object.entries(headers).map(([name, value]) => [
    name,
    value instanceof RegExp ? expect.stringMatching(value) : value,
  ]);
  return Object.fromEntries(values);
}
