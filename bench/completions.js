"use strict";

// Whole completions of carts in the real Medusa v1, once with this package's keys and once with Medusa's own.

const { performance } = require("node:perf_hooks");
const { startBackendProcess } = require("../examples/medusa-v1/backend");
const { completeCart, createReadyCart } = require("../examples/medusa-v1/shop");
const { createShopDatabase, dropShopDatabase } = require("../examples/medusa-v1/shop-database");
const { middle } = require("./measure");
const { progress } = require("./report");
const { judged } = require("./results");

const AT_ONCE = 8;
const SERVICES = ["ours", "medusa"];
/** The server has a hundred connections for both. */
const ENVIRONMENT = { DATABASE_POOL: "30" };

/**
 * How long completions take, those of our backend against those of Medusa's: pairs of turns, each with the same number
 * of carts.
 *
 * @param {string} serverUrl where databases are made
 * @param {{ pairs: number, waves: number }} pace `waves`: how many times eight carts are completed in a turn
 */
async function completionChecks(serverUrl, { pairs, waves }) {
  const shops = {};
  try {
    for (const service of SERVICES) {
      shops[service] = await openShop(serverUrl, service);
      await turn(shops[service], 1);
    }
    const ratios = [];
    for (let pair = 0; pair < pairs; pair += 1) {
      progress(`completions in Medusa v1, pair ${pair + 1} of ${pairs}`);
      ratios.push(await pairOf(shops, waves, pair % 2 === 1));
    }
    const name = `a completion in Medusa v1, ${AT_ONCE} at once, time against Medusa's own service, median of ${pairs} pairs`;
    return [{ name, unit: "", ...judged(middle(ratios), { atMost: 1 }) }];
  } finally {
    await Promise.all(Object.values(shops).map((shop) => shop.close()));
  }
}

async function openShop(serverUrl, service) {
  const databaseUrl = await createShopDatabase(serverUrl);
  try {
    const backend = await startBackendProcess({ databaseUrl, service, env: ENVIRONMENT });
    const close = async () => {
      await backend.stop();
      await dropShopDatabase(databaseUrl);
    };
    return { url: backend.url, close };
  } catch (error) {
    await dropShopDatabase(databaseUrl);
    throw error;
  }
}

/** Each of the two begins as often as the other. */
async function pairOf(shops, waves, isReversed) {
  const times = {};
  for (const service of isReversed ? SERVICES.toReversed() : SERVICES) {
    times[service] = await turn(shops[service], waves);
  }
  return times.ours / times.medusa;
}

/** Completes carts that are ready, eight at once, and resolves to the milliseconds that it took. */
async function turn({ url }, waves) {
  const carts = [];
  for (let wave = 0; wave < waves; wave += 1) {
    carts.push(await Promise.all(Array.from({ length: AT_ONCE }, () => readyCart(url))));
  }
  const start = performance.now();
  for (const wave of carts) {
    await Promise.all(wave.map((cart) => complete(url, cart)));
  }
  return performance.now() - start;
}

async function readyCart(url) {
  const { body } = await createReadyCart(url);
  return body.cart.id;
}

async function complete(url, cart) {
  const { status, body } = await completeCart(url, cart, { idempotencyKey: `complete-${cart}` });
  if (status !== 200 || body.type !== "order") {
    throw new Error(`the completion of a cart was answered ${status}, ${JSON.stringify(body)}`);
  }
}

module.exports = { completionChecks };
