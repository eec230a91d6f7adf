"use strict";

const { randomUUID } = require("node:crypto");
const { IdempotencyKeyService } = require("..");
const { rejection, useDatabase } = require("./helpers/database");
const { openTypeOrm, signal } = require("./helpers/flows");

const database = useDatabase();
let service;
let effects;

beforeAll(async () => {
  service = database.service();
  await database.pool.query("CREATE TABLE effect (id serial, name text)");
});

beforeEach(() => {
  effects = randomUUID();
});

/** An effect of this test. */
const insert = (tx) => tx.query("INSERT INTO effect (name) VALUES ($1)", [effects]);

async function count() {
  const { rows } = await database.pool.query("SELECT id FROM effect WHERE name = $1", [effects]);
  return rows.length;
}

async function stored(key) {
  const sql = "SELECT * FROM idempotency_key WHERE idempotency_key = $1";
  return (await database.pool.query(sql, [key])).rows[0];
}

const asked = (given = {}) => ({
  key: randomUUID(),
  method: "POST",
  path: "/orders",
  body: { cart: 1 },
  ...given,
});

/** Work with one effect. */
const work =
  (answer = { status: 201, body: { order: 1 } }) =>
  async (tx) => {
    await insert(tx);
    return answer;
  };

const problem = (status, code, retryAfter) => ({
  status,
  headers: {
    "content-type": "application/problem+json",
    ...(retryAfter ? { "retry-after": "1" } : {}),
  },
  body: expect.stringContaining(`"code":"${code}"`),
  replayed: false,
});

describe("the work of a request", () => {
  test("is done once, and its answer is replayed", async () => {
    const request = asked({ params: { id: "1" } });
    const seen = [];
    const answer = { status: 201, headers: { Location: "/orders/1" }, body: { z: 1, a: [] } };
    const once = async (tx, attempt) => {
      seen.push(attempt.idempotency_key, attempt.began);
      return work(answer)(tx);
    };
    const first = await service.handle(request, once);
    expect(first).toStrictEqual({
      status: 201,
      headers: { "content-type": "application/json", location: "/orders/1" },
      body: '{"z":1,"a":[]}',
      replayed: false,
      idempotency_key: request.key,
    });
    expect(await service.handle(request, once)).toStrictEqual({
      ...first,
      headers: { ...first.headers, "idempotent-replayed": "true" },
      replayed: true,
    });
    expect(seen).toEqual([request.key, "new"]);
    expect(await count()).toBe(1);
    expect(await stored(request.key)).toMatchObject({
      request_method: "POST",
      request_path: "/orders",
      request_params: { id: "1" },
      response_code: 201,
      recovery_point: "finished",
      locked_at: null,
    });
  });

  test("may have stages, of which those that are done are not done again", async () => {
    const request = asked();
    const ran = [];
    const stages = (fails) => ({
      started: async (tx, key, attempt) => {
        ran.push(`started ${key.idempotency_key === attempt.idempotency_key}`);
        await insert(tx);
        return { recovery_point: "paid" };
      },
      paid: async (tx, key) => {
        ran.push(key.recovery_point);
        await insert(tx);
        if (fails) {
          throw new Error("not now");
        }
        return { status: 202 };
      },
    });
    expect((await rejection(service.handle(request, stages(true)))).message).toBe("not now");
    expect(await service.handle(request, stages(false))).toMatchObject({ status: 202, body: null });
    expect(await service.handle(request, stages(false))).toMatchObject({ replayed: true });
    expect(ran).toEqual(["started true", "paid", "paid"]);
    expect(await count()).toBe(2);
  });

  test("without a key gets one", async () => {
    const { idempotency_key: key, ...first } = await service.handle(asked({ key: null }), work());
    expect(first).toMatchObject({ status: 201, replayed: false });
    expect(await service.handle(asked({ key }), work())).toMatchObject({ replayed: true });
  });

  test("runs once among many who ask at once", async () => {
    const request = asked();
    const patient = database.service({ waitTimeout: 20_000 });
    const answers = await Promise.all(
      Array.from({ length: 16 }, () => patient.handle(request, work())),
    );
    expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(new Set(answers.map(({ body }) => body))).toEqual(new Set(['{"order":1}']));
    expect(await count()).toBe(1);
  });

  test("may be repeated by the database, and its last answer counts", async () => {
    let tries = 0;
    const request = asked();
    const flaky = async (tx) => {
      tries += 1;
      await insert(tx);
      if (tries === 1) {
        await tx.query("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$");
      }
      return { body: { tries } };
    };
    expect(await service.handle(request, flaky)).toMatchObject({ body: '{"tries":2}' });
    expect(await service.handle(request, flaky)).toMatchObject({ body: '{"tries":2}' });
    expect(await count()).toBe(1);
  });
});

describe("a failure of the work", () => {
  test.each([
    ["an Error", new Error("payment refused")],
    ["no Error", "just text"],
    ["undefined", undefined],
    [
      "what looks like a refusal",
      Object.assign(new Error(), { code: "idempotency_key_in_use", status: 409 }),
    ],
    ["what looks like an outage", Object.assign(new Error(), { code: "57P01", status: 503 })],
  ])("is thrown, rolled back and released: %s", async (_, thrown) => {
    const request = asked();
    const failing = async (tx) => {
      await insert(tx);
      throw thrown;
    };
    const outcome = await service.handle(request, failing).then(
      () => "an answer",
      (error) => ({ error }),
    );
    expect(outcome).toEqual({ error: thrown });
    expect(outcome.error).toBe(thrown);
    expect(await count()).toBe(0);
    expect(await service.handle(request, work())).toMatchObject({ status: 201, replayed: false });
    expect(await count()).toBe(1);
  });

  const REFUSED = [
    [undefined, /has to return an object: .* or { status, headers, body }/],
    ["text", /has to return an object/],
    [[], /not an array/],
    [{ statusCode: 201 }, /statusCode: did you mean status\?/],
    [{ response_body: 1 }, /response_body: did you mean body\?/],
    [{ recoveryPoint: "paid" }, /recoveryPoint: did you mean recovery_point\?/],
    [{ recovery_point: "nowhere" }, /no stage for the recovery point "nowhere"/],
    [{ status: 99 }, /status has to be a whole number/],
    [{ status: "200" }, /status has to be a whole number/],
    [{ status: 101 }, /status has to be a whole number/],
    [{ status: 204, body: "x" }, /status 204 has no body/],
    [{ headers: [] }, /headers has to be an object/],
    [{ headers: { "a b": "1" } }, /the header "a b"/],
    [{ headers: { a: "1\r\nset-cookie: x" } }, /the header "a"/],
    [{ body: () => {} }, /body has no JSON/],
    [{ body: 1n }, /BigInt/],
  ];

  test.each(REFUSED)("a result that cannot be sent is refused: %p", async (result, message) => {
    const request = asked();
    const returning = async (tx) => {
      await insert(tx);
      return result;
    };
    const error = await rejection(service.handle(request, returning));
    // Of another realm than Jest's, some of them.
    expect(error.message).toMatch(message);
    expect(await count()).toBe(0);
    expect(await service.handle(request, work())).toMatchObject({ replayed: false });
  });
});

describe("a refusal is an answer", () => {
  test.each([
    ["no key where one is required", { key: undefined }, "idempotency_key_required"],
    ["an empty key where one is required", { key: "" }, "idempotency_key_required"],
    ["a key with a space", { key: "a b" }, "invalid_idempotency_key"],
    ["a key that is too long", { key: "k".repeat(256) }, "invalid_idempotency_key"],
    ["two keys", { key: ["a", "b"] }, "invalid_idempotency_key"],
    ["a key that is no text", { key: { $ne: 1 } }, "invalid_idempotency_key"],
    ["U+0000 in the parameters", { params: { id: "\0" } }, "invalid_request"],
    ["half a surrogate pair in the parameters", { params: { id: "\ud800" } }, "invalid_request"],
  ])("400: %s", async (_, given, code) => {
    const answer = await service.handle(asked(given), work(), { required: true });
    expect(answer).toMatchObject(problem(400, code));
    expect(await count()).toBe(0);
  });

  test("400: a body that is nested too deeply", async () => {
    let body = {};
    for (let depth = 0; depth < 100_000; depth += 1) {
      body = { body };
    }
    const answer = await service.handle(asked({ body }), work());
    expect(answer).toMatchObject(problem(400, "invalid_request"));
  });

  test("409 with Retry-After while the first is in progress, and 422 for another request", async () => {
    const request = asked();
    const [begun, end] = [signal(), signal()];
    const first = service.handle(request, async (tx) => {
      await insert(tx);
      begun.send();
      await end.sent;
      return {};
    });
    await begun.sent;
    const second = await service.handle(request, work());
    expect(second).toMatchObject(problem(409, "idempotency_key_in_use", true));
    expect(second.idempotency_key).toBe(request.key);
    end.send();
    expect(await first).toMatchObject({ status: 200, replayed: false });
    expect(await count()).toBe(1);
  });

  test("422 for another request while the first is in progress, where keys are committed first", async () => {
    const request = asked();
    const seen = database.service({ commitKeyFirst: true });
    const [begun, end] = [signal(), signal()];
    const first = seen.handle(request, async () => {
      begun.send();
      await end.sent;
      return {};
    });
    await begun.sent;
    const other = { ...request, body: { cart: 2 } };
    expect(await seen.handle(other, work())).toMatchObject(problem(422, "idempotency_key_reused"));
    end.send();
    await first;
  });

  test.each([
    ["method", { method: "PUT" }],
    ["path", { path: "/returns" }],
    ["query", { path: "/orders?x=2" }],
    ["parsed query", { query: { x: "2" } }],
    ["parameters", { params: { id: "2" } }],
    ["body", { body: { cart: 2 } }],
  ])("422: the same key with another %s", async (_, given) => {
    const request = asked({ path: "/orders?x=1", params: { id: "1" } });
    await service.handle(request, work());
    const other = await service.handle({ ...request, ...given }, work());
    expect(other).toMatchObject(problem(422, "idempotency_key_reused"));
    expect(other.body).not.toContain(request.key);
    expect(await count()).toBe(1);
  });

  test("503 with Retry-After when the database cannot be reached, within connectTimeout", async () => {
    const unreachable = database.closed(
      new IdempotencyKeyService(
        {},
        { databaseUrl: "postgres://u:secret@127.0.0.1:1/none", connectTimeout: 1000 },
      ),
    );
    const answer = await unreachable.handle(asked(), work());
    expect(answer).toMatchObject(problem(503, "idempotency_unavailable", true));
    expect(answer.body).not.toMatch(/127|secret|ECONN/);
  });

  test("409: the database has no peace", async () => {
    const impatient = database.service({ maxRetries: 0 });
    // The commit fails, not the work.
    await database.pool.query(`
      CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$;
      CREATE TABLE refused (id int);
      CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON refused DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse()`);
    const refused = async (tx) => {
      await tx.query("INSERT INTO refused VALUES (1)");
      return {};
    };
    expect(await impatient.handle(asked(), refused)).toMatchObject(
      problem(409, "request_conflict", true),
    );
  });
});

describe("a mistake rejects", () => {
  const MISTAKES = [
    [{ requests: true }, /there is no option "requests"; there are required, methods/],
    [{ replayHeader: "x" }, /did you mean replayedHeader\?/],
    [{ required: "yes" }, /required has to be true or false/],
    [{ methods: "POST" }, /methods has to be an array/],
    [{ header: "a b" }, /header has to be the name of a header/],
    [{ scope: "tenant" }, /scope has to be a function/],
    [{ fingerprint: { omit: "a" } }, /fingerprint has to be a function, or/],
    [{ fingerprint: { omit: ["a"], pick: [] } }, /fingerprint has to be a function, or/],
    [{ keep: [200] }, /keep has to be a function/],
    [{ replayedHeader: true }, /replayedHeader has to be the name/],
    [{ keyFrom: "id" }, /keyFrom has to be a function/],
    [{ query: 1 }, /query has to be true or false/],
    [{ maxResponseBytes: "1mb" }, /maxResponseBytes has to be an integer/],
    [{ onUnavailable: "pass" }, /onUnavailable has to be one of refuse, run/],
    [[], /have to be an object/],
  ];

  test.each(MISTAKES)("in the options: %p", async (options, message) => {
    const error = await rejection(service.handle(asked(), work(), options));
    expect(error).toMatchObject({ type: "invalid_argument", code: "invalid_option" });
    expect(error.message).toMatch(message);
  });

  test.each([
    [{ url: "/" }, work(), /there is no option "url"/],
    [{}, undefined, /stages is an object of functions/],
    [{}, { started: 1 }, /stage "started": a function was expected/],
  ])("in the arguments: %p, %p", async (given, wrong, message) => {
    expect((await rejection(service.handle(asked(given), wrong))).message).toMatch(message);
  });

  test('in the mode: "medusa" keeps no client\'s key', async () => {
    const medusa = database.service({ mode: "medusa" });
    expect(await rejection(medusa.handle(asked(), work()))).toMatchObject({
      code: "invalid_option",
      message: expect.stringContaining("exactly-once"),
    });
  });
});

describe("options", () => {
  test("the key and the request come from what is given", async () => {
    const request = { method: "POST", path: "/", headers: { "x-key": randomUUID() } };
    const options = { header: "X-Key", replayedHeader: "X-Again" };
    await service.handle(request, work(), options);
    const again = await service.handle(request, work(), options);
    expect(again).toMatchObject({ replayed: true, idempotency_key: request.headers["x-key"] });
    expect(again.headers).toMatchObject({ "x-again": "true" });
    const bare = await service.handle(request, work(), { ...options, replayedHeader: false });
    expect(Object.keys(bare.headers)).toEqual(["content-type"]);
  });

  test("keyFrom is asked in place of the header, with what the adapter has", async () => {
    const native = { event: { id: randomUUID() } };
    const options = { keyFrom: ({ event }) => event.id, required: true };
    const request = { method: "POST", path: "/hook", headers: { "idempotency-key": "x" }, native };
    expect(await service.handle(request, work(), options)).toMatchObject({
      idempotency_key: native.event.id,
    });
    const none = { ...request, native: { event: {} } };
    expect(await service.handle(none, work(), options)).toMatchObject({ status: 400 });
  });

  test.each([
    ["query", { query: false }, { path: "/orders?a=2" }, true],
    ["query", {}, { path: "/orders?a=2" }, false],
    [
      "omitted",
      { fingerprint: { omit: ["at", "items.0.at"] } },
      { body: { at: 2, items: [{ at: 2, n: 1 }] } },
      true,
    ],
    [
      "kept",
      { fingerprint: { omit: ["at", "items.0.at"] } },
      { body: { at: 2, items: [{ at: 2, n: 2 }] } },
      false,
    ],
    ["chosen", { fingerprint: ({ body }) => body.items.length }, { body: { items: [9] } }, true],
    [
      "chosen",
      { fingerprint: async ({ body }) => body.items.length },
      { body: { items: [] } },
      false,
    ],
  ])("what is compared: %s, %p, %p", async (_, options, given, isSame) => {
    const request = asked({ path: "/orders?a=1", body: { at: 1, items: [{ at: 1, n: 1 }] } });
    await service.handle(request, work(), options);
    const again = await service.handle({ ...request, ...given }, work(), options);
    expect(again).toMatchObject(isSame ? { replayed: true } : { status: 422 });
    expect(request.body).toEqual({ at: 1, items: [{ at: 1, n: 1 }] });
  });

  test("an answer that keep() leaves out is sent, and nothing of it stays", async () => {
    const request = asked();
    const options = { keep: (status) => status < 500 };
    const busy = await service.handle(request, work({ status: 502, body: "later" }), options);
    expect(busy).toMatchObject({ status: 502, body: "later", replayed: false });
    expect(await count()).toBe(0);
    expect(await service.handle(request, work(), options)).toMatchObject({
      status: 201,
      replayed: false,
    });
    // By default all that the work answers is kept.
    const kept = asked();
    await service.handle(kept, work({ status: 502 }));
    expect(await service.handle(kept, work())).toMatchObject({ status: 502, replayed: true });
  });

  test("a body that is too long is sent once, and its work is not done again", async () => {
    const request = asked();
    const answer = {
      status: 201,
      headers: { location: "/orders/1", "x-a": "1" },
      body: "é".repeat(6),
    };
    const options = { maxResponseBytes: 11 };
    expect(await service.handle(request, work(answer), options)).toMatchObject({ body: "éééééé" });
    const again = await service.handle(request, work(answer), options);
    expect(again).toMatchObject({
      status: 410,
      headers: {
        "content-type": "application/problem+json",
        "idempotent-replayed": "true",
        location: "/orders/1",
      },
      replayed: true,
    });
    expect(JSON.parse(again.body)).toMatchObject({
      code: "idempotency_answer_not_kept",
      original_status: 201,
    });
    expect(await count()).toBe(1);
    const short = asked();
    await service.handle(short, work({ body: "é".repeat(5) }), options);
    expect(await service.handle(short, work(), options)).toMatchObject({ body: "ééééé" });
  });

  test('onUnavailable "run" runs the work without a transaction, and warns', async () => {
    const emitWarning = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
    const unreachable = database.closed(
      new IdempotencyKeyService({}, { databaseUrl: "postgres://u:secret@127.0.0.1:1/none" }),
    );
    const options = { onUnavailable: "run" };
    const given = [];
    const stages = {
      started: (...all) => {
        given.push(...all);
        return { recovery_point: "paid" };
      },
      paid: () => ({ status: 202, body: { ok: true } }),
    };
    const request = asked();
    for (let time = 0; time < 2; time += 1) {
      expect(await unreachable.handle(request, stages, options)).toStrictEqual({
        status: 202,
        headers: { "content-type": "application/json" },
        body: '{"ok":true}',
        replayed: false,
        idempotency_key: request.key,
      });
    }
    expect(given).toEqual([]);
    expect(emitWarning).toHaveBeenCalledTimes(1);
    const [message, { code }] = emitWarning.mock.calls[0];
    expect(code).toBe("IDEMPOTENCY_UNAVAILABLE");
    expect(message).not.toContain("secret");
    emitWarning.mockRestore();
  });
});

describe("in a transaction that somebody holds", () => {
  test.each(["TypeORM's", "the engine's"])("work and answer commit with it: %s", async (whose) => {
    const typeOrm = await openTypeOrm(database);
    const [root, begin] =
      whose === "TypeORM's"
        ? [typeOrm.service(), (run) => typeOrm.dataSource.manager.transaction(run)]
        : [service, (run) => service.atomicPhase_(run)];
    const [request, lost] = [asked(), asked()];
    const inTransaction = (given, then = () => {}) =>
      begin(async (manager) => {
        const bound = root.withTransaction(manager);
        const answer = await bound.handle(given, (tx) => {
          expect(tx).toBe(manager);
          return work()(tx);
        });
        const again = await bound.handle(given, work());
        expect(again).toMatchObject({ ...answer, headers: expect.anything(), replayed: true });
        then();
        return answer;
      });
    expect(await inTransaction(request)).toMatchObject({ status: 201, replayed: false });
    const error = new Error("rolled back");
    const failed = inTransaction(lost, () => {
      throw error;
    });
    expect(await rejection(failed)).toBe(error);
    expect(await count()).toBe(1);
    expect(await service.handle(request, work())).toMatchObject({ replayed: true });
    expect(await service.handle(lost, work())).toMatchObject({ replayed: false });
  });

  test("every answer is kept: it is not this package that could roll the work back", async () => {
    const request = asked();
    const options = { keep: () => false };
    await service.atomicPhase_((manager) =>
      service.withTransaction(manager).handle(request, work({ status: 500 }), options),
    );
    expect(await service.handle(request, work(), options)).toMatchObject({
      status: 500,
      replayed: true,
    });
  });

  test("a root of TypeORM's opens the transaction of the work", async () => {
    const typeOrm = await openTypeOrm(database);
    const request = asked();
    const given = async (tx) => {
      expect(tx.queryRunner.isTransactionActive).toBe(true);
      return work()(tx);
    };
    expect(await typeOrm.service().handle(request, given)).toMatchObject({ replayed: false });
    expect(await typeOrm.service().handle(request, given)).toMatchObject({ replayed: true });
  });
});
