// Compiled, never run: what TypeScript users write has to be accepted, and what is wrong refused.

import DefaultExport = require("../..");
import {
  IdempotencyKeyService,
  TransactionManager,
  createIdempotency,
  idempotencyMiddleware,
  isIdempotencyError,
  type Attempt,
  type HandleResult,
  type HttpOptions,
  type IdempotencyKey,
  type IdempotencyKeyOptions,
  type MedusaConfigModule,
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

  constructor(container: Record<string, unknown>, options?: IdempotencyKeyOptions) {
    super(container, options);
  }

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
  const http: HttpOptions<{ user: { id: string } }> = {
    scope: (request) => request.user.id,
    fingerprint: { omit: ["at"] },
    keep: (status) => status < 500,
    replayedHeader: false,
  };
  const native = { user: { id: "u" } };
  const answer: HandleResult = await service.handle(
    { method: "POST", path: "/", headers: { "idempotency-key": "k" }, native },
    async (manager, attempt) => {
      await manager.query("SELECT $1", [attempt.began]);
      return { status: 201, headers: { "set-cookie": ["a", "b"], age: 1 }, body: { ok: true } };
    },
    http,
  );
  await service.handle({ key: "k", method: "POST", path: "/", scope: null }, () => ({}));
  await service.handle(
    { method: "POST", path: "/" },
    {
      started: async (manager, key) => {
        await manager.query("SELECT $1", [key.id]);
        return { recovery_point: "paid" };
      },
      paid: () => ({ body: new Uint8Array(1) }),
    },
    { keyFrom: async () => null, onUnavailable: "run" },
  );
  const sent: string | Uint8Array | null = answer.body;
  // @ts-expect-error a status is a number
  await service.handle({ method: "POST", path: "/" }, () => ({ status: "201" }));
  // @ts-expect-error there is no such option
  await service.handle({ method: "POST", path: "/" }, () => ({}), { tenant: () => sent });
  // @ts-expect-error the method is missing
  await service.handle({ path: "/" }, () => ({}));
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

/** What a project's own service is constructed with, as far as anybody declares it. */
function construct(
  dependencies: { manager: object; cartService: object },
  cradle: Record<string, unknown>,
  config: MedusaConfigModule & { plugins: unknown[]; featureFlags: object },
  either: IdempotencyKeyOptions | MedusaConfigModule | undefined,
  anything: any,
) {
  return [
    new IdempotencyKeyService(),
    new IdempotencyKeyService(null, null),
    new IdempotencyKeyService(dependencies, OPTIONS, { scope: "internal" }),
    new IdempotencyKeyService(cradle, config),
    new IdempotencyKeyService(cradle, { projectConfig: { database_url: "postgres://db/shop" } }),
    new IdempotencyKeyService(anything, either),
    new IdempotencyKeyService(anything, anything, anything),
    createIdempotency(),
    createIdempotency(OPTIONS),
  ];
}

async function handle(error: unknown): Promise<number> {
  const idempotency = createIdempotency({ mode: "exactly-once" });
  await idempotency.workStage("k", async (manager: TransactionManager) => {
    await manager.query("SELECT 1");
    return {};
  });
  if (isIdempotencyError(error, "idempotency_key_in_use")) {
    const code: "idempotency_key_in_use" = error.code;
    return code.length;
  }
  if (isIdempotencyError(error, "23505") && "constraint" in error) {
    const constraint: string | undefined = error.constraint;
    return constraint ? 409 : 422;
  }
  if (isIdempotencyError(error)) {
    const code: string | undefined = error.code;
    return "type" in error && error.type === "conflict" ? 409 : (code ?? error.message).length;
  }
  // @ts-expect-error it may be anything else
  return error.code;
}

async function attempts(service: IdempotencyKeyService): Promise<string> {
  const attempt: Attempt = await service.begin({ key: "k", method: "JOB", path: "/payouts" });
  const began: "new" | "released" | "interrupted" | "finished" | undefined = attempt.began;
  attempt.keepAlive().keepAlive("10m").keepAlive(1000);
  const finished: IdempotencyKey = await attempt.finish({ response_body: { id: 1 } });
  const released: IdempotencyKey = await service.release("k");
  await service.attemptOf(released)?.release();
  await service.listStalled({ interrupted: true });
  await service.runStages(
    { key: "k" },
    { started: async (_manager, _key, { began: how }) => ({ response_body: how }) },
  );
  new IdempotencyKeyService(
    {},
    { maxDuration: "10m", onInterrupted: ({ path }) => (path === "/" ? "refuse" : "retry") },
  );
  // @ts-expect-error an answer has no such property
  await attempt.finish({ status: 200 });
  // @ts-expect-error it may be none
  service.attemptOf("k").release();
  return finished.id + began;
}

/** A library's object through which transactions are opened, and what its callbacks get. */
interface Trx {
  insert(row: object): Promise<void>;
}
declare const database: {
  transaction<T>(work: (trx: Trx) => Promise<T>): Promise<T>;
};

async function transactions(service: Extended, trx: Trx) {
  await createIdempotency({ manager: database }).workStage("k", async (given) => {
    await given.insert({});
    return {};
  });
  const stages = new IdempotencyKeyService({}, { manager: database });
  await stages.runStages({ key: "k" }, { started: async (given) => (await given.insert({}), {}) });
  const bound = service.withTransaction(trx);
  await bound.workStage("k", async (given) => (await given.insert({}), {}));
  // It is a service of the same class.
  const extended: Extended = bound;
  const unbound: Extended = service.withTransaction(null);
  // @ts-expect-error what a callback gets has no such method
  await bound.runStages({}, { started: async (given) => given.remove() });
  return [extended.calls, unbound.calls];
}

// @ts-expect-error a manager is an object that opens transactions
createIdempotency({ manager: "postgres://db/shop" });
// @ts-expect-error there is no such decision
new IdempotencyKeyService({}, { onInterrupted: "ignore" });
// @ts-expect-error a function answers a decision
new IdempotencyKeyService({}, { onInterrupted: () => true });
// @ts-expect-error a duration is a number or text
new IdempotencyKeyService({}, { maxDuration: {} });

type Middleware = (req: object, res: object, next: () => void) => void;
const middleware: Middleware = idempotencyMiddleware();

// @ts-expect-error there is no such mode
new IdempotencyKeyService({}, { mode: "at-least-once" });
// @ts-expect-error there is no such option
new IdempotencyKeyService({}, { leaseTimout: 1000 });
// @ts-expect-error the container comes first
new IdempotencyKeyService({ databaseUrl: "postgres://db/shop" });
// @ts-expect-error the container comes first
new IdempotencyKeyService(OPTIONS);
// @ts-expect-error options are an object
new IdempotencyKeyService({}, "postgres://db/shop");
// @ts-expect-error there is no such option
createIdempotency({ database_url: "postgres://db/shop" });
// @ts-expect-error there is no such mode
createIdempotency({ mode: "at-least-once" });
// @ts-expect-error a factory takes the options alone
createIdempotency({}, OPTIONS);
// @ts-expect-error a code is text
isIdempotencyError(new Error(), 23505);
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

void [use, useStages, construct, handle, attempts, transactions, middleware, OPTIONS, MEDUSAS];
void DefaultExport.default;
