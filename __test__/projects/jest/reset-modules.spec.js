"use strict";

// Two copies of the package in one process, as `jest.resetModules()` makes them.

const { randomUUID } = require("node:crypto");

const load = () => {
  jest.resetModules();
  return require("medusa-idempotency-key");
};
const first = load();
const second = load();

/** A service of the second copy that has made no call yet. */
const fresh = () => new (load().IdempotencyKeyService)({}, {});

const service = new first.IdempotencyKeyService({}, {});
let key;

beforeAll(() => service.migrate());

beforeEach(async () => {
  key = (await service.create({})).idempotency_key;
});

afterAll(() => service.close());

test("there are two copies, which know each other's managers", async () => {
  expect(second.TransactionManager).not.toBe(first.TransactionManager);
  await service.atomicPhase_((manager) => {
    expect(second.TransactionManager.isTransactionManager(manager)).toBe(true);
  });
});

test("calls of one copy run in the transaction of the other", async () => {
  const inside = randomUUID();
  const failure = new Error("undo");
  const stage = service.workStage(key, async (manager) => {
    const bound = fresh().withTransaction(manager);
    await bound.create({ idempotency_key: inside });
    expect(await bound.retrieve(inside)).toMatchObject({ recovery_point: "started" });
    expect(await bound.update(inside, { response_code: 201 })).toMatchObject({
      response_code: 201,
    });
    throw failure;
  });
  await expect(stage).rejects.toBe(failure);
  await expect(service.retrieve(inside)).rejects.toMatchObject({ type: "not_found" });
});

test("stages and phases of one copy run in the transaction of the other", async () => {
  const other = (await service.create({})).idempotency_key;
  await service.workStage(key, async (manager) => {
    const bound = fresh().withTransaction(manager);
    await bound.workStage(other, async (nested) => {
      expect(await nested.query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
      return { response_code: 200, response_body: { done: true } };
    });
    const phase = await bound.atomicPhase_((same) => same.query("SELECT 2 AS two"));
    expect(phase).toEqual([{ two: 2 }]);
    return { recovery_point: "paid" };
  });
  expect(await service.retrieve(key)).toMatchObject({ recovery_point: "paid" });
  expect(await service.retrieve(other)).toMatchObject({
    recovery_point: "finished",
    response_body: { done: true },
  });
});

test("a manager whose transaction has ended is refused by the other copy, too", async () => {
  let kept;
  await service.workStage(key, (manager) => {
    kept = manager;
    return {};
  });
  await expect(fresh().withTransaction(kept).retrieve(key)).rejects.toMatchObject({
    code: "transaction_ended",
  });
});
