"use strict";

// The lifetime of a request as an object, and what is told of how it began.

const { execFile, fork } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const path = require("node:path");
const { promisify } = require("node:util");
const { IdempotencyKeyService } = require("..");
const { rejection, useDatabase } = require("./helpers/database");
const { eventually, inUse, leaseLost, openTypeOrm, signal } = require("./helpers/flows");

const finished = { type: "conflict", code: "idempotency_key_finished", status: 409 };
const released = { type: "conflict", code: "idempotency_key_released", status: 409 };
const interrupted = { type: "conflict", code: "idempotency_key_interrupted", status: 409 };
const answer = { response_code: 201, response_body: { id: "payout_1" } };

const database = useDatabase();
let service;
/** A service for which every lease has run out a moment after its last sign of life. */
let impatient;

beforeAll(() => {
  service = database.service();
  impatient = database.service({ leaseTimeout: 1 });
});

function payout(key = randomUUID()) {
  return { key, method: "POST", path: "/payouts", body: { amount: 5 } };
}

async function stored(key) {
  const sql = "SELECT *, xmin FROM idempotency_key WHERE idempotency_key = $1";
  return (await database.pool.query(sql, [key])).rows[0];
}

/** Begins a request whose process then dies, as far as anybody can tell. */
async function interruptedRequest(key) {
  await impatient.begin(payout(key));
  await eventually(async () => {
    const sql =
      "SELECT locked_at < statement_timestamp() - interval '1 ms' AS over FROM idempotency_key " +
      "WHERE idempotency_key = $1";
    return (await database.pool.query(sql, [key])).rows[0].over;
  });
}

/** Begins a request that was interrupted, with a service that has the options. */
function beginAgain(key, options = {}) {
  return database.service({ leaseTimeout: 1, ...options }).begin(payout(key));
}

describe("an attempt", () => {
  test("is begun, and finished with an answer that is replayed", async () => {
    const key = randomUUID();
    const attempt = await service.begin(payout(key));
    expect(attempt).toMatchObject({ idempotency_key: key, began: "new" });
    expect(attempt.key).toMatchObject({ request_method: "POST", recovery_point: "started" });
    expect(await rejection(service.begin(payout(key)))).toMatchObject(inUse);
    const result = await attempt.finish(answer);
    expect(result).toMatchObject({ ...answer, recovery_point: "finished", locked_at: null });
    expect(result.response_body).toBe(answer.response_body);
    expect(attempt.key).toBe(result);
    const replay = await service.begin(payout(key));
    expect(replay.began).toBe("finished");
    expect(replay.key).toMatchObject(answer);
    expect(replay.key).toEqual(result);
  });

  test("generates a key where none is given", async () => {
    const { idempotency_key } = await service.begin({ ...payout(), key: undefined });
    expect(idempotency_key).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("is found again by its key", async () => {
    const attempt = await service.begin(payout());
    expect(service.attemptOf(attempt.key)).toMatchObject({ began: "new", key: attempt.key });
    expect(service.attemptOf(await service.retrieve(attempt.idempotency_key)).began).toBe("new");
    expect(service.attemptOf(randomUUID())).toBeUndefined();
    await attempt.finish(answer);
  });

  test("that is released can be tried again at once", async () => {
    const key = randomUUID();
    const attempt = await service.begin(payout(key));
    expect(await attempt.release()).toMatchObject({ locked_at: null, recovery_point: "started" });
    const again = await service.begin(payout(key));
    expect(again.began).toBe("released");
    await again.finish(answer);
  });

  test("is finished once, and released once", async () => {
    const attempt = await service.begin(payout());
    const first = await Promise.allSettled([attempt.finish(answer), attempt.finish(answer)]);
    expect(first.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    const before = await stored(attempt.idempotency_key);
    for (const call of [
      () => attempt.finish({ response_code: 500 }),
      () => attempt.release(),
      () => service.release(attempt.key),
      () => service.release(attempt.idempotency_key),
    ]) {
      expect(await rejection(call())).toMatchObject(finished);
    }
    expect(await stored(attempt.idempotency_key)).toEqual(before);

    const other = await service.begin(payout());
    await other.release();
    const after = await stored(other.idempotency_key);
    for (const call of [
      () => other.release(),
      () => other.finish(answer),
      () => service.release(other.key),
      () => service.release(other.idempotency_key),
    ]) {
      expect(await rejection(call())).toMatchObject(released);
    }
    expect(await stored(other.idempotency_key)).toEqual(after);
  });

  test("that was taken over can end nothing", async () => {
    for (const ending of ["finish", "release", undefined]) {
      const key = randomUUID();
      const stalled = await service.begin(payout(key));
      await eventually(async () => (await stored(key)).locked_at < Date.now());
      const taker = await eventually(() => impatient.begin(payout(key)).catch(() => {}));
      expect(taker.began).toBe("interrupted");
      await (ending === "finish" ? taker.finish(answer) : ending && taker.release());
      const before = await stored(key);
      expect(await rejection(stalled.finish({ response_code: 500 }))).toMatchObject(leaseLost);
      expect(await rejection(stalled.release())).toMatchObject(leaseLost);
      expect(await rejection(service.release(stalled.key))).toMatchObject(leaseLost);
      expect(await stored(key)).toEqual(before);
    }
  });

  test("of a key that was deleted ends nothing", async () => {
    const attempt = await service.begin(payout());
    await database.pool.query("DELETE FROM idempotency_key WHERE idempotency_key = $1", [
      attempt.idempotency_key,
    ]);
    expect(await rejection(attempt.finish(answer))).toMatchObject({ type: "not_found" });
    expect(await rejection(attempt.release())).toMatchObject({ type: "not_found" });
  });

  test("may end its request late, as long as nobody has taken it over", async () => {
    const key = randomUUID();
    const attempt = await impatient.begin(payout(key));
    await eventually(async () => (await impatient.listStalled({ olderThan: 0 })).length > 0);
    expect(await attempt.finish(answer)).toMatchObject(answer);
  });

  test("stores what finish() is given, and checks it", async () => {
    const attempt = await service.begin(payout());
    for (const [given, message] of [
      [undefined, "an object"],
      [[], "not an array"],
      [{ status: 200 }, "status: did you mean response_code?"],
      [{ recovery_point: "paid" }, "recovery_point"],
      [{ response_code: 99_999 }, "a whole number from 100 to 599, not 99999"],
    ]) {
      const error = await rejection(attempt.finish(given));
      expect(error).toMatchObject({ type: "invalid_data", status: 400 });
      expect(error.message).toContain(message);
    }
    const ended = await attempt.finish({ response_body: { id: 1 } });
    expect(ended).toMatchObject({ response_code: 200, response_body: { id: 1 } });
  });

  test("joins the transaction that its service is bound to", async () => {
    const { dataSource, service: serviceOf } = await openTypeOrm(database);
    const own = serviceOf();
    const key = randomUUID();
    const failed = dataSource.transaction(async (manager) => {
      const attempt = await own.withTransaction(manager).begin(payout(key));
      await attempt.finish(answer);
      expect(await rejection(attempt.finish(answer))).toMatchObject(finished);
      expect(await rejection(attempt.release())).toMatchObject(finished);
      throw new Error("rolled back");
    });
    expect((await rejection(failed)).message).toBe("rolled back");
    expect(await stored(key)).toBeUndefined();
    await dataSource.transaction(async (manager) => {
      const attempt = await own.withTransaction(manager).begin(payout(key));
      expect(attempt.began).toBe("new");
      await attempt.release();
      expect(await rejection(attempt.release())).toMatchObject(released);
    });
    await dataSource.transaction(async (manager) => {
      const attempt = await own.withTransaction(manager).begin(payout(key));
      expect(attempt.began).toBe("released");
      await attempt.finish(answer);
    });
    expect(await service.retrieve(key)).toMatchObject(answer);
  });

  test("has no lease in mode medusa, where nothing is told", async () => {
    const likeMedusas = database.service({ mode: "medusa" });
    const attempt = await likeMedusas.begin(payout());
    expect(attempt.began).toBeUndefined();
    attempt.keepAlive();
    expect(await attempt.finish(answer)).toMatchObject({ ...answer, recovery_point: "finished" });
  });
});

describe("keepAlive()", () => {
  test("renews the lease until the request is finished", async () => {
    const short = database.service({ leaseTimeout: 300 });
    const attempt = (await short.begin(payout())).keepAlive();
    const first = (await stored(attempt.idempotency_key)).locked_at;
    // Longer than three leases.
    await eventually(async () => (await stored(attempt.idempotency_key)).locked_at - first > 1000);
    expect(await rejection(short.begin(payout(attempt.idempotency_key)))).toMatchObject(inUse);
    await attempt.finish(answer);
    expect((await stored(attempt.idempotency_key)).locked_at).toBeNull();
  });

  test("is not put off by being asked again and again", async () => {
    const short = database.service({ leaseTimeout: 300 });
    const attempt = await short.begin(payout());
    const first = (await stored(attempt.idempotency_key)).locked_at;
    const renewed = await eventually(async () => {
      attempt.keepAlive();
      return (await stored(attempt.idempotency_key)).locked_at - first > 600;
    });
    expect(renewed).toBe(true);
    await attempt.release();
  });

  test("ends after as long as it may, and leaves an interrupted request", async () => {
    const warnings = [];
    const logger = { warn: (message) => warnings.push(message) };
    const own = database.closed(
      new IdempotencyKeyService({ logger }, { databaseUrl: database.url, leaseTimeout: 60_000 }),
    );
    const attempt = (await own.begin({ ...payout(), path: "/slow" })).keepAlive(200);
    const key = attempt.idempotency_key;
    const taker = await eventually(() =>
      own.begin({ ...payout(key), path: "/slow" }).catch((error) => {
        expect(error).toMatchObject(inUse);
      }),
    );
    expect(taker.began).toBe("interrupted");
    expect(warnings).toEqual([expect.stringContaining("POST /slow")]);
    expect(await rejection(attempt.finish(answer))).toMatchObject(leaseLost);
    await taker.release();
  });

  test.each([0, -1, "soon", NaN, {}])("refuses %p", async (max) => {
    const attempt = await service.begin(payout());
    expect(() => attempt.keepAlive(max)).toThrow(/keepAlive\(max\)/);
    await attempt.release();
  });

  test("no longer renews what was released or lost", async () => {
    const short = database.service({ leaseTimeout: 200 });
    const attempt = (await short.begin(payout())).keepAlive();
    await attempt.release();
    const before = await stored(attempt.idempotency_key);
    const other = (await short.begin(payout())).keepAlive();
    const began = (await stored(other.idempotency_key)).locked_at;
    await eventually(async () => (await stored(other.idempotency_key)).locked_at - began > 400);
    expect(await stored(attempt.idempotency_key)).toEqual(before);
    await other.release();
  });

  test("an event loop that is blocked for longer than the lease is fenced off", async () => {
    const key = randomUUID();
    const child = fork(path.join(__dirname, "fixtures/blocked.js"), [database.url, key]);
    await once(child, "message");
    const told = once(child, "message");
    const exited = once(child, "exit");
    const request = { key, method: "POST", path: "/payouts" };
    let taker;
    // Its lease of 10 s has to run out first.
    for (let look = 0; !taker && look < 4; look += 1) {
      taker = await eventually(() => service.begin(request).catch(() => {}));
    }
    expect(taker.began).toBe("interrupted");
    const [{ codes }] = await told;
    expect(codes).toEqual(Array(4).fill("lease_lost"));
    expect(await taker.finish(answer)).toMatchObject(answer);
    await exited;
  });
});

describe("how a request began", () => {
  test.each([
    // A first stage that fails leaves nothing.
    [false, "new"],
    [true, "released"],
  ])("is told to the stages of runStages, commitKeyFirst %s", async (commitKeyFirst, retried) => {
    const service = database.service({ commitKeyFirst });
    const key = randomUUID();
    const told = [];
    const stages = (fails) => ({
      started: (_manager, _key, attempt) => {
        told.push(attempt.began);
        if (fails) {
          throw new Error("out of stock");
        }
        return answer;
      },
    });
    expect((await rejection(service.runStages(payout(key), stages(true)))).message).toBe(
      "out of stock",
    );
    expect(await service.runStages(payout(key), stages(false))).toMatchObject({
      began: retried,
      replayed: false,
    });
    expect(await service.runStages(payout(key), stages(false))).toMatchObject({
      began: "finished",
      replayed: true,
    });
    expect(told).toEqual(["new", retried]);
  });

  test("stays interrupted until somebody finishes or releases it", async () => {
    const key = randomUUID();
    await interruptedRequest(key);
    const stages = {
      started: () => {
        throw new Error("the provider does not answer");
      },
    };
    for (let round = 0; round < 2; round += 1) {
      await rejection(impatient.runStages(payout(key), stages));
      expect((await beginAgain(key)).began).toBe("interrupted");
      await eventually(async () => (await stored(key)).locked_at < Date.now() - 1);
    }
    await (await beginAgain(key)).release();
    expect((await beginAgain(key)).began).toBe("released");
  });

  test("one of many begins what was released or interrupted", async () => {
    for (const how of ["released", "interrupted"]) {
      const key = randomUUID();
      const attempt = await service.begin(payout(key));
      if (how === "released") {
        await attempt.release();
      } else {
        attempt.keepAlive(1);
        await eventually(async () => Date.now() - (await stored(key)).locked_at > 1000);
      }
      const attempts = await Promise.allSettled(
        Array.from({ length: 16 }, () => service.begin(payout(key))),
      );
      const won = attempts.filter(({ status }) => status === "fulfilled");
      expect(won.map(({ value }) => value.began)).toEqual([how]);
    }
  });
});

describe('onInterrupted: "refuse"', () => {
  const refuse = { onInterrupted: "refuse" };

  test("answers an interrupted request with conflict until it is released", async () => {
    const key = randomUUID();
    await interruptedRequest(key);
    for (const call of [
      (own) => own.begin(payout(key)),
      (own) => own.initializeRequest(key, "POST", undefined, "/payouts"),
    ]) {
      const error = await rejection(call(database.service({ leaseTimeout: 1, ...refuse })));
      expect(error).toMatchObject(interrupted);
      expect(error.message).toContain(key);
    }
    const listed = async () =>
      (await impatient.listStalled({ olderThan: 0, interrupted: true, limit: 1000 })).map(
        ({ idempotency_key }) => idempotency_key,
      );
    expect(await listed()).toContain(key);
    const all = await impatient.listStalled({ olderThan: 0, limit: 1000 });
    expect(all.map(({ idempotency_key }) => idempotency_key)).toContain(key);
    expect(await impatient.release(key)).toMatchObject({ idempotency_key: key, locked_at: null });
    expect(await listed()).not.toContain(key);
    const attempt = await beginAgain(key, refuse);
    expect(attempt.began).toBe("released");
    await attempt.finish(answer);
  });

  test("or until its answer is stored", async () => {
    const key = randomUUID();
    await interruptedRequest(key);
    await service.update(key, { recovery_point: "finished", ...answer });
    const replay = await beginAgain(key, refuse);
    expect(replay).toMatchObject({ began: "finished", key: answer });
  });

  test.each([["yes"], [1], [null]])("listStalled refuses interrupted: %p", async (given) => {
    const error = await rejection(service.listStalled({ interrupted: given }));
    expect(error).toMatchObject({ type: "invalid_argument", status: 500 });
  });

  test("lets a request go on that a handler has released, or that nobody has begun", async () => {
    const key = randomUUID();
    await (await service.begin(payout(key))).release();
    expect((await beginAgain(key, refuse)).began).toBe("released");
    const made = await service.create({ request_method: "POST", request_path: "/payouts" });
    expect((await beginAgain(made.idempotency_key, refuse)).began).toBe("released");
  });

  test("lets requests in stages go on from their recovery points", async () => {
    const key = randomUUID();
    await impatient.begin(payout(key));
    await impatient.workStage(key, () => ({ recovery_point: "paid" }));
    const own = database.service({ leaseTimeout: 1, ...refuse });
    const attempt = await eventually(() => own.begin(payout(key)).catch(() => {}));
    expect(attempt).toMatchObject({ began: "interrupted", key: { recovery_point: "paid" } });
    // In its first stage, too, where it is known to have stages.
    const other = randomUUID();
    await interruptedRequest(other);
    const result = await own.runStages(payout(other), { started: () => answer });
    expect(result).toMatchObject({ began: "interrupted", response_code: 201 });
  });

  test("holds in the transaction that the service is bound to", async () => {
    const { dataSource, service: serviceOf } = await openTypeOrm(database);
    const key = randomUUID();
    await interruptedRequest(key);
    const own = serviceOf({ leaseTimeout: 1, ...refuse });
    const begun = dataSource.transaction((manager) =>
      own.withTransaction(manager).begin(payout(key)),
    );
    expect(await rejection(begun)).toMatchObject(interrupted);
    await dataSource.transaction((manager) => own.withTransaction(manager).release(key));
    const attempt = await dataSource.transaction((manager) =>
      own.withTransaction(manager).begin(payout(key)),
    );
    expect(attempt.began).toBe("released");
  });

  test("may be a function of the request", async () => {
    const asked = [];
    const onInterrupted = async (request) => {
      asked.push(request);
      return request.path === "/payouts" ? "refuse" : "retry";
    };
    const own = database.service({ leaseTimeout: 1, onInterrupted });
    await (await own.begin(payout())).finish(answer);
    expect(asked).toEqual([]);
    const key = randomUUID();
    await interruptedRequest(key);
    expect(await rejection(own.begin(payout(key)))).toMatchObject(interrupted);
    const { method, path: of } = payout();
    expect(asked).toEqual([{ key, method, path: of, params: undefined, url: undefined }]);
    const report = { key: randomUUID(), method: "POST", path: "/reports" };
    await impatient.begin(report);
    const again = await eventually(() => own.begin(report).catch(() => {}));
    expect(again.began).toBe("interrupted");
  });

  test.each([["perhaps"], [undefined], [true]])(
    "is a mistake where the function answers %p",
    async (decision) => {
      const key = randomUUID();
      await interruptedRequest(key);
      const before = await stored(key);
      const begun = beginAgain(key, { onInterrupted: () => decision });
      expect(await rejection(begun)).toMatchObject({ code: "invalid_option", status: 500 });
      expect(await stored(key)).toEqual(before);
    },
  );

  test("rejects with what the function throws", async () => {
    const key = randomUUID();
    await interruptedRequest(key);
    const thrown = new Error("the ledger cannot be reached");
    const begun = beginAgain(key, {
      onInterrupted: () => {
        throw thrown;
      },
    });
    expect(await rejection(begun)).toBe(thrown);
  });
});

describe("release()", () => {
  test("leaves alone what somebody works on", async () => {
    const attempt = await service.begin(payout());
    const other = database.service();
    const before = await stored(attempt.idempotency_key);
    const child = await newProcessReleases(attempt.idempotency_key);
    expect(child).toBe("idempotency_key_in_use");
    expect(await stored(attempt.idempotency_key)).toEqual(before);
    // In one process all calls that are made for no request belong together.
    await other.release(attempt.idempotency_key);
    expect((await stored(attempt.idempotency_key)).locked_at).toBeNull();
  });

  test("waits for a stage of its own, and gives up before long", async () => {
    const attempt = await service.begin(payout());
    const inside = signal();
    const goOn = signal();
    const stage = service.workStage(attempt.key, async () => {
      inside.send();
      await goOn.sent;
      return { recovery_point: "paid" };
    });
    await inside.sent;
    const given = attempt.release();
    goOn.send();
    await stage;
    expect(await given).toMatchObject({ locked_at: null });
    expect(await stored(attempt.idempotency_key)).toMatchObject({
      recovery_point: "paid",
      locked_at: null,
    });
  });

  test.each([
    [undefined, "not_found"],
    [null, "not_found"],
    [7, "invalid_data"],
    ["nowhere", "not_found"],
  ])("of %p is refused", async (key, type) => {
    expect(await rejection(service.release(key))).toMatchObject({ type });
  });

  async function newProcessReleases(key) {
    const script = `
      const { IdempotencyKeyService } = require(${JSON.stringify(path.join(__dirname, ".."))});
      const service = new IdempotencyKeyService({}, { databaseUrl: process.argv[1] });
      service.release(process.argv[2]).catch((error) => console.log(error.code)).then(() => service.close());
    `;
    const args = ["-e", script, database.url, key];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    return stdout.trim();
  }
});

describe("the options", () => {
  test.each([
    { maxDuration: 0 },
    { maxDuration: -1 },
    { maxDuration: "soon" },
    { maxDuration: null },
    { maxDuration: {} },
    { onInterrupted: "ignore" },
    { onInterrupted: true },
    { onInterrupted: null },
    { onInterrupted: {} },
  ])("refuse %p at construction", (options) => {
    const [name] = Object.keys(options);
    const construct = () =>
      new IdempotencyKeyService({}, { databaseUrl: database.url, ...options });
    expect(construct).toThrow(expect.objectContaining({ code: "invalid_option" }));
    expect(construct).toThrow(name);
  });

  test("take durations and functions", () => {
    for (const options of [
      { maxDuration: "10m" },
      { maxDuration: 1 },
      { onInterrupted: () => "retry" },
      { onInterrupted: "retry" },
    ]) {
      new IdempotencyKeyService({}, { databaseUrl: database.url, ...options });
    }
  });
});
