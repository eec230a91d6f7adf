// Compiled, never run: what TypeScript users write has to be accepted, and what is wrong refused.

import DefaultExport = require("../..");
import { IdempotencyKeyService, TransactionManager, type IdempotencyKey } from "../..";

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
  await service.migrate();
  await service.close();
}

// @ts-expect-error a key is text
new IdempotencyKeyService({}).lock(1);
// @ts-expect-error there is no such column
new IdempotencyKeyService({}).retrieve({ colour: "red" });
// @ts-expect-error a callback returns an object
new IdempotencyKeyService({}).workStage("k", async () => "done");
// @ts-expect-error managers come from stages
new TransactionManager();

void use;
void DefaultExport.default;
