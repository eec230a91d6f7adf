// Compiled, never run: what TypeScript users write has to be accepted, and what is wrong refused.

import DefaultExport = require("../..");
import {
  IdempotencyKeyService,
  TransactionManager,
  idempotencyMiddleware,
  type IdempotencyKey,
  type IdempotencyKeyOptions,
} from "../..";

const OPTIONS: IdempotencyKeyOptions = {
  mode: "exactly-once",
  leaseTimeout: 30_000,
  retention: "72h",
};
const MEDUSAS: IdempotencyKeyOptions = { mode: "medusa", waitTimeout: 0, retention: 60_000 };

class Extended extends IdempotencyKeyService<TransactionManager> {
  static LIFE_TIME = "SINGLETON" as const;
  calls = 0;

  async createTwice(): Promise<IdempotencyKey[]> {
    this.calls += 1;
    return this.atomicPhase_(async (manager) => {
      const bound: this = this.withTransaction(manager);
      return [await bound.create({}), await this.activeManager_.query("SELECT 1")];
    }, "SERIALIZABLE");
  }
}

async function use(service: Extended) {
  const key = await service.create({ request_method: "POST", request_params: { id: "x" } });
  const locked: Date | null = (await service.lock(key.idempotency_key)).locked_at;
  await service.initializeRequest("", "POST", {}, "/");
  await service.retrieve({ created_at: { gte: new Date() }, recovery_point: ["a", "b"] });
  await service.retrieve([{ id: "x" }, { response_code: null }]);
  await service.update(key.idempotency_key, { response_code: null, locked_at: locked });
  await service.workStage("k", async (manager) => {
    const rows = await manager.query<{ id: string }>("SELECT $1 AS id", ["x"]);
    await manager.transaction("SERIALIZABLE", async (nested) => nested.query("SELECT 1"));
    const active: boolean = manager.queryRunner.isTransactionActive;
    return { recovery_point: rows[0]?.id, response_code: active ? 200 : 500 };
  });
  await service.workStage("k", () => ({ response_body: [1] }));
  await service.lock(key);
  await service.update(key, { recovery_point: "halfway" });
  await service.workStage(key, () => ({ recovery_point: null }));
  await service.migrate();
  await service.close();
}

async function useStages(service: Extended) {
  const request = { key: "k", method: "POST", params: {}, path: "/orders", body: { cart: "c" } };
  const { response_code, response_body, replayed } = await service.runStages(request, {
    started: async (manager, key) => {
      const payment: string = service.stageKey(key, "payment");
      await manager.query("INSERT INTO payment VALUES ($1)", [payment]);
      return { recovery_point: "paid" };
    },
    paid: () => ({ response_code: 201, response_body: { order: 1 } }),
  });
  const code: number | null = replayed ? response_code : 200;
  await service.runStages({}, { started: () => ({ response_body: [code, response_body] }) });
  const stalled: IdempotencyKey[] = await service.listStalled({ olderThan: "5m", limit: 10 });
  await service.listStalled();
  const pruned: number = await service.prune({ olderThan: 3_600_000, batchSize: 500 });
  return [stalled, pruned, service.stageKey("k", "payment")];
}

type Middleware = (req: object, res: object, next: () => void) => void;
const middleware: Middleware = idempotencyMiddleware();

// @ts-expect-error there is no such mode
new IdempotencyKeyService({}, { mode: "at-least-once" } satisfies IdempotencyKeyOptions);
// @ts-expect-error a stage is a function
new IdempotencyKeyService({}).runStages({ key: "k" }, { started: "done" });
// @ts-expect-error a header is text
new IdempotencyKeyService({}).initializeRequest({ idempotency_key: "k" });
// @ts-expect-error a key is text
new IdempotencyKeyService({}).lock(1);
// @ts-expect-error there is no such column
new IdempotencyKeyService({}).retrieve({ colour: "red" });
// @ts-expect-error a callback returns an object
new IdempotencyKeyService({}).workStage("k", async () => "done");
// @ts-expect-error managers come from stages
new TransactionManager();

void [use, useStages, middleware, OPTIONS, MEDUSAS];
void DefaultExport.default;
