"use strict";

// Any value in any place. HOSTILE_RUNS sets how many values each property is checked with.

const fc = require("fast-check");
const { createIdempotency, idempotencyMiddleware, isIdempotencyError } = require("..");
const { useDatabase } = require("./helpers/database");
const { check, settled } = require("./helpers/hostile-calls");
const { COLUMNS, JSON_COLUMNS, TEXT_COLUMNS, expectStored } = require("./helpers/hostile-columns");
const {
  boxed,
  hostile,
  hostileFunction,
  hostileList,
  hostileRecord,
  texts,
} = require("./helpers/hostile-values");

/** Of each property, unless HOSTILE_RUNS says otherwise. */
const RUNS = 25;
const TEST_TIMEOUT = process.env.HOSTILE_RUNS ? 3_600_000 : 60_000;
const REQUEST = ["key", "method", "params", "path", "body"];
const RESULT = ["recovery_point", "response_code", "response_body"];

const database = useDatabase();
let service;
let medusa;

beforeAll(() => {
  service = database.service();
  medusa = database.service({ mode: "medusa" });
});

afterEach(async () => {
  expect({}.polluted).toBeUndefined();
  await database.pool.query("TRUNCATE idempotency_key");
});

/** Checks that the service has taken no harm. */
async function works() {
  const { idempotency_key: key } = await service.create({ request_path: "/works" });
  const done = await service.workStage(key, () => ({ response_body: key }));
  expect(done).toMatchObject({ recovery_point: "finished", response_body: key });
}

/** A request or a key that the calls accept, one that has wrong values, and any value. */
const requests = () => fc.oneof(hostileRecord(REQUEST), hostile());
const keys = () =>
  fc.oneof(
    fc.constantFrom("given", "").map(boxed),
    texts().map(boxed),
    hostileRecord(COLUMNS),
    hostile(),
  );
const results = () => fc.oneof(hostileRecord(RESULT), hostile());
const callbacks = () => fc.oneof(hostileFunction(results()), hostile());
const stages = () => callbacks().map((callback) => callback.as((started) => ({ started })));
const selectors = () =>
  fc.oneof(hostileRecord(COLUMNS), hostileList(hostileRecord(COLUMNS)), hostile());

/** Each method with the values that it takes. */
const METHODS = [
  ["create", hostile()],
  ["retrieve", selectors()],
  ["lock", keys()],
  ["update", keys(), fc.oneof(hostileRecord(COLUMNS), hostile())],
  ["initializeRequest", hostile(), hostile(), hostile(), hostile()],
  ["release", keys()],
  ["workStage", keys(), callbacks()],
  ["runStages", requests(), fc.oneof(stages(), hostile())],
  ["atomicPhase_", callbacks(), hostile(), hostile()],
  ["begin", requests()],
  ["listStalled", fc.oneof(hostileRecord(["olderThan", "limit", "interrupted"]), hostile())],
  ["prune", fc.oneof(hostileRecord(["olderThan", "batchSize"]), hostile())],
];

describe("any values, given to", () => {
  test.each(METHODS)(
    "%s",
    async (method, ...values) => {
      await check(
        [fc.boolean(), ...values],
        async (isMedusa, ...given) => {
          // In the same tick: what calls share must not fail for one of them.
          const beside = works();
          let promise;
          expect(() => (promise = (isMedusa ? medusa : service)[method](...given))).not.toThrow();
          expect(promise).toBeInstanceOf(Promise);
          await settled(() => promise);
          await beside;
          await works();
        },
        RUNS,
      );
    },
    TEST_TIMEOUT,
  );

  test.each([
    ["attemptOf", keys()],
    ["stageKey", keys(), hostile()],
    ["shouldRetryTransaction_", hostile()],
  ])("%s", async (method, ...values) => {
    await check(
      values,
      async (...given) => void (await settled(() => service[method](...given))),
      100,
    );
    await works();
  });

  test("isIdempotencyError and createIdempotency", async () => {
    await check(
      [hostile(), hostile()],
      async (error, code) => {
        expect(isIdempotencyError(error, code)).toBe(false);
        const { value } = await settled(() => createIdempotency(error));
        await settled(() => value?.close());
      },
      100,
    );
  });

  test(
    "withTransaction",
    async () => {
      await check(
        [hostile()],
        async (manager) => {
          const { value: bound } = await settled(() => service.withTransaction(manager));
          await settled(() => bound?.create({}));
          await settled(() => bound?.workStage("given", () => ({})));
          await works();
        },
        RUNS,
      );
    },
    TEST_TIMEOUT,
  );
});

describe("columns of any values are stored as they were given, or refused", () => {
  const columns = hostileRecord([...TEXT_COLUMNS, ...JSON_COLUMNS]);

  test(
    "in create and update",
    async () => {
      await check(
        [columns, columns],
        async (given, change) => {
          const { value: key } = await settled(() => service.create(given));
          if (key) {
            await expectStored(service, key, given);
          }
          const { idempotency_key: other } = await service.create({});
          const { value: changed } = await settled(() => service.update(other, change));
          if (changed) {
            await expectStored(service, changed, change);
          }
          await works();
        },
        RUNS,
      );
    },
    TEST_TIMEOUT,
  );

  test(
    "in the answer of a stage and of an attempt",
    async () => {
      const answer = hostileRecord(["response_body"]);
      await check(
        [answer, results(), hostile()],
        async (given, result, max) => {
          const stage = await service.create({});
          const { value: done } = await settled(() => service.workStage(stage, () => given));
          if (done) {
            await expectStored(service, done, given);
          }
          const attempt = await service.begin({});
          await settled(() => attempt.keepAlive(max));
          const { value: finished } = await settled(() => attempt.finish(result));
          if (finished) {
            await expectStored(service, finished, result);
          } else {
            await attempt.release();
          }
          await works();
        },
        RUNS,
      );
    },
    TEST_TIMEOUT,
  );
});

describe("what a callback throws, of whatever type,", () => {
  test(
    "is what the call rejects with",
    async () => {
      await check(
        [hostile()],
        async (thrown) => {
          const fail = () => {
            throw thrown;
          };
          const key = await service.create({});
          for (const call of [
            () => service.workStage(key, fail),
            () => service.runStages({}, { started: fail }),
            () => service.atomicPhase_(fail),
            () => service.atomicPhase_(fail, "SERIALIZABLE"),
          ]) {
            const end = await settled(call, { thrown: [thrown] });
            expect(Object.is(end.error, thrown)).toBe(true);
          }
          await works();
        },
        RUNS,
      );
    },
    TEST_TIMEOUT,
  );

  test(
    "does not end a transaction otherwise than its callback says",
    async () => {
      await check(
        [fc.oneof(texts().map(boxed), hostile()), hostileList(hostile())],
        async (value, parameters) => {
          await settled(() =>
            service.atomicPhase_(async (manager) => {
              const sql = "SELECT $1::text AS value";
              const { value: rows } = await settled(() => manager.query(sql, [value]));
              if (rows && typeof value === "string") {
                expect(rows[0].value === value.toWellFormed()).toBe(true);
              }
              await settled(() => manager.query(value, parameters));
              await settled(() => manager.transaction(value, ...parameters));
            }),
          );
          await works();
        },
        RUNS,
      );
    },
    TEST_TIMEOUT,
  );
});

test(
  "a request of any values passes the middleware, and is given to the service as it is",
  async () => {
    const middleware = idempotencyMiddleware();
    await check(
      [texts(), texts(), hostile(), hostile(), hostile()],
      async (method, url, body, params, key) => {
        const request = { method, url, body, params };
        const response = { end() {}, destroy() {} };
        const next = jest.fn(async () => {
          await settled(() => service.initializeRequest(key, request.method, request.params, "/"));
          await settled(() => service.begin({ ...request, url: undefined, key: undefined }));
          response.end();
        });
        middleware(request, response, next);
        expect(next).toHaveBeenCalledTimes(1);
        await next.mock.results[0].value;
        await works();
      },
      RUNS,
    );
  },
  TEST_TIMEOUT,
);
