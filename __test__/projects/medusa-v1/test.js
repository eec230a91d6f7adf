"use strict";

// In a copy of examples/medusa-v1 that depends on the published package: `medusa migrations run` makes
// the tables, the backend starts, completes a cart, and answers a retry with the same order.

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { startBackendProcess } = require("./backend");
const { createShopDatabase, dropShopDatabase, dropTemplate } = require("./shop-database");
const shop = require("./shop");

async function main() {
  // Another package manager's Medusa may have made it.
  await dropTemplate(process.env.DATABASE_URL);
  const databaseUrl = await createShopDatabase(process.env.DATABASE_URL);
  try {
    const backend = await startBackendProcess({ databaseUrl });
    try {
      await completesOnce(backend.url);
    } finally {
      await backend.stop();
    }
  } finally {
    await dropShopDatabase(databaseUrl);
  }
  console.log("works in Medusa v1");
}

async function completesOnce(url) {
  const { body } = await shop.createReadyCart(url);
  const idempotencyKey = randomUUID();
  const complete = () => shop.completeCart(url, body.cart.id, { idempotencyKey });
  const first = await complete();
  assert.equal(first.status, 200, JSON.stringify(first.body));
  assert.equal(first.body.type, "order");
  assert.equal(first.headers["idempotency-key"], idempotencyKey);
  // Not all of the answer: Medusa leaves a figure of its own out of what a retry gets.
  const again = await complete();
  assert.deepEqual([again.status, again.body.data.id], [200, first.body.data.id]);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
