"use strict";

// What has to hold however a test has replaced the timers.

const { randomUUID } = require("node:crypto");
const { EventEmitter } = require("node:events");
const { setTimeout: sleep } = require("node:timers/promises");

const LEASE = 400;

/** @param {() => typeof import("medusa-idempotency-key")} load */
module.exports = (load) => {
  let service;
  let idempotencyMiddleware;

  beforeAll(async () => {
    const loaded = load();
    idempotencyMiddleware = loaded.idempotencyMiddleware;
    service = new loaded.IdempotencyKeyService({}, { leaseTimeout: LEASE });
    await service.migrate();
  });

  afterAll(() => service.close());

  const begin = (key) => service.initializeRequest(key, "POST", {}, "/");

  test("the timers are fake", () => {
    let fired = false;
    setTimeout(() => (fired = true), 0);
    jest.advanceTimersByTime(1);
    expect(fired).toBe(true);
  });

  test("calls are settled", async () => {
    const keys = await Promise.all(Array.from({ length: 50 }, () => service.create({})));
    const stages = keys.map((key) => service.workStage(key, () => ({ response_code: 200 })));
    for (const key of await Promise.all(stages)) {
      expect(key.recovery_point).toBe("finished");
    }
    await expect(service.retrieve(randomUUID())).rejects.toMatchObject({ type: "not_found" });
  });

  test("leases are renewed while the request is open, and released then", async () => {
    const key = randomUUID();
    const response = Object.assign(new EventEmitter(), { end() {} });
    const request = { method: "POST", url: "/", body: {} };
    const opened = new Promise((resolve, reject) => {
      idempotencyMiddleware()(request, response, () => begin(key).then(resolve, reject));
    });
    expect(await opened).toMatchObject({ recovery_point: "started" });
    for (let passed = 0; passed < 3 * LEASE; passed += LEASE / 4) {
      await sleep(LEASE / 4);
      await expect(begin(key)).rejects.toMatchObject({ code: "idempotency_key_in_use" });
    }
    response.end();
    await expect(begin(key)).resolves.toMatchObject({ idempotency_key: key });
  });

  test("time that a test has set forgets no lease", async () => {
    const { idempotency_key: key } = await begin(randomUUID());
    jest.setSystemTime(Date.now() + 1000 * LEASE);
    await begin(randomUUID());
    await expect(service.workStage(key, () => ({}))).resolves.toMatchObject({
      recovery_point: "finished",
    });
  });
};
