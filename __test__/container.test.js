"use strict";

// A container as Medusa's is: the real awilix, with the cradle as a proxy.

const { createRequire } = require("node:module");
const path = require("node:path");
const v8 = require("node:v8");
const vm = require("node:vm");
const { IdempotencyKeyService } = require("..");
const { useDatabase } = require("./helpers/database");
const { eventually } = require("./helpers/flows");
const { EXAMPLE } = require("./helpers/medusa-installed");

const shop = createRequire(path.join(EXAMPLE, "package.json"));
const { asFunction, asValue, createContainer, InjectionMode } = shop("awilix");

const database = useDatabase();

/** Medusa registers a plugin's service so. */
function scopeWith(registrations, options) {
  const container = createContainer({ injectionMode: InjectionMode.PROXY });
  for (const [name, value] of Object.entries(registrations)) {
    container.register(name, asValue(value));
  }
  const service = (cradle) => new IdempotencyKeyService(cradle, options);
  container.register("idempotencyKeyService", asFunction(service).scoped());
  return container.createScope();
}

test("the manager of the container is the service's", () => {
  const manager = { connection: { options: {} } };
  const service = scopeWith({ manager }).resolve("idempotencyKeyService");
  expect(service.activeManager_).toBe(manager);
});

test("a container without a manager is one all the same", () => {
  const service = scopeWith({}).resolve("idempotencyKeyService");
  expect(service.activeManager_).toBeUndefined();
});

test("the database is that of the container's manager", async () => {
  const options = { type: "postgres", url: database.url, schema: database.schema };
  const scope = scopeWith({ manager: { connection: { options } } });
  const service = scope.resolve("idempotencyKeyService");
  const { idempotency_key } = await service.create({});
  await expect(database.service().retrieve(idempotency_key)).resolves.toMatchObject({
    idempotency_key,
  });
  await service.close();
});

test("the database is that of the container's config", async () => {
  const projectConfig = { database_url: database.url, database_schema: database.schema };
  const scope = scopeWith({ configModule: { projectConfig } });
  const service = scope.resolve("idempotencyKeyService");
  await expect(service.create({})).resolves.toMatchObject({ recovery_point: "started" });
  await service.close();
});

test("the scopes of requests share one connection, and forgotten ones do not close it", async () => {
  const options = { type: "postgres", url: database.url, applicationName: "scopes" };
  const registrations = { manager: { connection: { options } } };
  v8.setFlagsFromString("--expose-gc");
  const collectGarbage = vm.runInNewContext("gc");
  const backends = new Set();
  let forgotten = 0;
  const registry = new FinalizationRegistry(() => (forgotten += 1));
  for (let round = 0; round < 5; round += 1) {
    const before = forgotten;
    for (let request = 0; request < 20; request += 1) {
      const own = scopeWith(registrations).resolve("idempotencyKeyService");
      registry.register(own);
      await own.create({});
    }
    const { rows } = await database.pool.query(
      "SELECT pid FROM pg_stat_activity WHERE application_name = 'scopes'",
    );
    rows.forEach(({ pid }) => backends.add(pid));
    const isForgotten = () => {
      collectGarbage();
      return forgotten > before;
    };
    expect(await eventually(isForgotten)).toBe(true);
  }
  expect(backends.size).toBe(1);
  // Nobody is left to close it.
  await database.pool.query("SELECT pg_terminate_backend($1)", [...backends]);
});
