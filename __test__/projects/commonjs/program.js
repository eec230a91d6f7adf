"use strict";

// What scripts/smoke.js runs, too. It ends by itself, without close().

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { AsyncLocalStorage } = require("node:async_hooks");
const { createIdempotency, isIdempotencyError } = require("medusa-idempotency-key");

const NOBODY = "postgres://127.0.0.1:1/none";

async function main() {
  const face = await import("medusa-idempotency-key");
  assert.equal(face.createIdempotency, createIdempotency);
  await refuses();
  if (process.env.DATABASE_URL) {
    await works(createIdempotency());
  }
  console.log(`works on ${process.platform} ${process.arch} with Node ${process.version}`);
}

async function refuses() {
  assert.throws(() => createIdempotency({ mode: "none" }), { code: "invalid_option" });
  const lost = await createIdempotency({ databaseUrl: NOBODY })
    .create({})
    .catch((error) => error);
  assert.ok(isIdempotencyError(lost, "ECONNREFUSED"), String(lost));
}

async function works(service) {
  await service.migrate();
  const storage = new AsyncLocalStorage();
  const request = { key: randomUUID(), method: "POST", path: "/orders", body: { cart: 1 } };
  let effects = 0;
  const stages = {
    started: async (manager) => {
      effects += storage.getStore();
      return { recovery_point: (await manager.query("SELECT 'paid' AS point"))[0].point };
    },
    paid: () => ({ response_code: 201, response_body: { order: "ö" } }),
  };
  for (const replayed of [false, true]) {
    const answer = await storage.run(1, () => service.runStages(request, stages));
    assert.equal(answer.replayed, replayed);
    assert.deepEqual(answer.response_body, { order: "ö" });
  }
  assert.equal(effects, 1);
  const keys = await Promise.all(Array.from({ length: 200 }, () => service.create({})));
  assert.equal(new Set(keys.map((key) => key.idempotency_key)).size, 200);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
