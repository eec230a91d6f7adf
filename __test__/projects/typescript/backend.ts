// A Medusa v1 project: compiled, never run.

import type { MedusaRequest, IdempotencyKeyService as MedusasService } from "@medusajs/medusa";
import {
  IdempotencyKeyService,
  createIdempotency,
  isIdempotencyError,
  type IdempotencyKey,
  type IdempotencyKeyOptions,
  type TransactionManager,
} from "medusa-idempotency-key";
import { MedusaIdempotencyKeyService } from "medusa-idempotency-key/medusa";
import type { EntityManager } from "typeorm";

/** A service of the project that was written for Medusa's own. */
class CartCompletion {
  constructor(private readonly dependencies: { idempotencyKeyService: MedusasService }) {}

  complete(manager: EntityManager, key: string) {
    const { idempotencyKeyService } = this.dependencies;
    return idempotencyKeyService.withTransaction(manager).workStage(key, async (given) => {
      await given.query("SELECT 1");
      return { response_code: 200, response_body: {} };
    });
  }
}

/** With what this package adds. */
export async function route(req: MedusaRequest, manager: EntityManager) {
  const service: MedusaIdempotencyKeyService = req.scope.resolve("idempotencyKeyService");
  const declared: MedusasService = service;
  await new CartCompletion({ idempotencyKeyService: service }).complete(manager, "k");
  const bound: MedusaIdempotencyKeyService = service.withTransaction(manager);
  const key = await bound.initializeRequest("k", "POST", {}, "/");
  await bound.workStage(key.idempotency_key, async (given) => {
    const same: EntityManager = given;
    return { recovery_point: same.connection.isInitialized ? "paid" : "started" };
  });
  const { replayed } = await service.runStages(
    { key: "k", method: "POST" },
    { started: async (given: EntityManager) => given.query("SELECT 1").then(() => ({})) },
  );
  const stalled: IdempotencyKey[] = await service.listStalled({ olderThan: "5m" });
  return [declared, replayed, stalled, service.stageKey("k", "payment")];
}

/** A subclass where Medusa's class is declared: protected members and all. */
class MyKeys extends MedusaIdempotencyKeyService {
  static LIFE_TIME = "SINGLETON" as const;

  constructor(container: { manager: EntityManager }, options?: IdempotencyKeyOptions) {
    super(container, options);
  }

  async createPair() {
    return this.atomicPhase_(async (manager: EntityManager) => {
      const bound = this.withTransaction(manager);
      const active: EntityManager = this.activeManager_;
      await active.query("SELECT 1");
      return [await bound.create({}), await bound.create({ request_path: "/" })];
    });
  }
}

/** The same of the class under its own name. */
class OwnKeys extends IdempotencyKeyService<EntityManager> {
  async createIn(manager: EntityManager) {
    this.manager_ = manager;
    return this.atomicPhase_((given) => this.withTransaction(given).create({}), "SERIALIZABLE");
  }
}

export function construct(manager: EntityManager): MedusasService[] {
  const mine = new MyKeys({ manager }, { leaseTimeout: 30_000 });
  const config = { projectConfig: { database_url: "postgres://db/shop" }, plugins: [] };
  const declared: MedusaIdempotencyKeyService = new MedusaIdempotencyKeyService(
    { manager },
    config,
  );
  void mine.createPair();
  return [mine, declared];
}

export async function standalone(error: unknown) {
  const service = createIdempotency({ retention: "72h" });
  await service.workStage("k", async (manager: TransactionManager) => {
    await manager.query("SELECT 1");
    return {};
  });
  return isIdempotencyError(error, "lease_lost") ? error.message : undefined;
}

// @ts-expect-error Medusa's class has protected members of its own
export const refused: MedusasService = new OwnKeys({});
// @ts-expect-error there is no such option
new MedusaIdempotencyKeyService({}, { leaseTimout: 1 });
// @ts-expect-error there is no such mode
new OwnKeys({}, { mode: "at-most-once" });
// @ts-expect-error the container comes first
new OwnKeys({ databaseUrl: "postgres://db/shop" });
