"use strict";

// To be run with `--detectOpenHandles`, which has nothing to say.

const { IdempotencyKeyService } = require("medusa-idempotency-key");

test("a service that is not closed", async () => {
  const service = new IdempotencyKeyService({}, {});
  await service.migrate();
  const key = await service.create({});
  await service.workStage(key, async (manager) => {
    await manager.query("SELECT 1");
    return {};
  });
  await service.atomicPhase_((manager) => manager.query("SELECT 1"));
});

test("a service of a copy that the test itself loads", async () => {
  jest.resetModules();
  const loaded = require("medusa-idempotency-key");
  const service = new loaded.IdempotencyKeyService({}, {});
  const [first] = await Promise.all([service.create({}), service.create({})]);
  await service.retrieve(first.idempotency_key);
  await service.close();
});

test("a copy that is not used", () => {
  jest.resetModules();
  require("medusa-idempotency-key");
});
