"use strict";

// What happens to the carts. Each part resolves to what is audited of it.

const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const { completeCart, createReadyCart } = require("../shop");
const { stateOf } = require("./audit");
const { repeatWhileInConflict } = require("./repeat");
const { CALLERS, rush } = require("./rush");
const { summaryOf } = require("./rush-audit");
const { holdStock } = require("./stock");

const BLOCK_TIMEOUT = 30_000;
const POLL_INTERVAL = 5;

/** @typedef {{ url: string, kill(): Promise<void> }} Backend */

/**
 * @typedef {{
 *   database: { url: string, client: import("pg").Client },
 *   start(): Promise<Backend>,
 *   step<T>(what: string, work: () => Promise<[T, string]>): Promise<T>,
 *   signal: AbortSignal,
 * }} Stage `step` tells what is under way, and then what its work resolved to say
 */

/** Places an order whose answer does not arrive, and retries. */
async function loseAnswer({ database: { client }, step, signal }, backend) {
  const cart = await fillCart(backend, signal);
  const start = await stateOf(client, cart);

  const [purchase, broken] = await step(`${completion(cart)}, no key`, async () => {
    const key = await completeAndHangUp(backend, cart, signal);
    const state = await stateOf(client, { ...cart, key });
    const orders = state.orders.join(", ") || "no order";
    return [[{ ...cart, key }, state], `✗ ${orders} placed, connection cut, answer lost`];
  });
  const answer = await retry({ step, signal }, backend, purchase, broken);
  return { purchase, start, broken, answer };
}

/**
 * The key is in the headers. Everything after them, the order too, goes unread: the connection is
 * cut.
 */
async function completeAndHangUp(backend, { cartId }, signal) {
  const hangUp = new AbortController();
  const response = await fetch(`${backend.url}/store/carts/${cartId}/complete`, {
    method: "POST",
    signal: AbortSignal.any([signal, hangUp.signal]),
  });
  hangUp.abort();
  return response.headers.get("Idempotency-Key");
}

/**
 * Completes a cart many times at once, and another one of the shop that has Medusa's own keys.
 *
 * @param {Stage} stage
 * @param {Backend} backend
 * @param {{ starting: Promise<Backend>, client: import("pg").Client }} medusas
 */
async function rushBoth({ database, step, signal }, backend, medusas) {
  const play = (whose, starting, client) =>
    step(`a cart completed ${CALLERS} times at once, one key, ${whose}`, async () => {
      const seen = await rush(await starting, client, signal);
      return [seen, summaryOf(seen)];
    });
  return {
    ours: await play("this package", backend, database.client),
    medusa: await play("Medusa's own service", medusas.starting, medusas.client),
  };
}

/** Kills the backend while it places an order, starts it again, and retries. */
async function killInTheMiddle({ database, start: startBackend, step, signal }, backend) {
  const cart = await fillCart(backend, signal);
  const { client } = database;
  const start = await stateOf(client, cart);

  // Who dies in the middle sends no headers: the client chooses this key.
  const key = randomUUID();
  const purchase = { ...cart, key };
  const broken = await step(`${completion(cart)}, key ${key}`, async () => {
    await killWhileCompleting({ database, signal }, backend, purchase);
    const state = await stateOf(client, purchase);
    const { recoveryPoint, payments, orders } = state;
    const kept = `${recoveryPoint}, payments: ${payments.length}, orders: ${orders.length}`;
    return [state, `✗ SIGKILL in the middle; committed: ${kept}`];
  });
  const restarted = await step("starting the backend again", async () => {
    const again = await startBackend();
    return [again, `✓ Medusa is back at ${again.url}`];
  });
  const answer = await retry({ step, signal }, restarted, purchase, broken);
  return { purchase, start, broken, answer };
}

/** Resolves once the process has ended and its client has seen the connection break. */
async function killWhileCompleting({ database, signal }, backend, { cartId, variantId, key }) {
  // A completion takes a tenth of a second: too little to be sure of its middle.
  const stock = await holdStock(database.url, variantId);
  try {
    const completing = completeCart(backend.url, cartId, { idempotencyKey: key, signal });
    const seen = completing.catch(() => undefined);
    await untilAwaited(stock, database.client, signal);
    await backend.kill();
    const answer = await seen;
    if (answer) {
      throw new Error(
        `meant to be killed in mid-completion, the backend answered ${answer.status}`,
      );
    }
  } finally {
    await stock.release();
  }
}

async function untilAwaited(stock, client, signal) {
  for (const deadline = Date.now() + BLOCK_TIMEOUT; Date.now() < deadline;) {
    if (await stock.isAwaited(client)) {
      return;
    }
    await sleep(POLL_INTERVAL, undefined, { signal });
  }
  throw new Error(`no completion asked for the stock within ${BLOCK_TIMEOUT} ms`);
}

function retry({ step, signal }, backend, { cartId, key }, { recoveryPoint }) {
  return step(`the same again, with key ${key}`, async () => {
    const ask = () => completeCart(backend.url, cartId, { idempotencyKey: key, signal });
    const answer = await repeatWhileInConflict(await ask(), ask, signal);
    const how = recoveryPoint === "finished" ? "from the key" : `going on from ${recoveryPoint}`;
    const mark = answer.status === 200 ? "✓" : "✗";
    return [answer, `${mark} ${answer.status} ${how}: ${answer.body?.data?.id}`];
  });
}

async function fillCart(backend, signal) {
  const { body } = await createReadyCart(backend.url, { signal });
  return { cartId: body.cart.id, variantId: body.cart.items[0].variant_id };
}

function completion({ cartId }) {
  return `POST /store/carts/${cartId}/complete`;
}

module.exports = { loseAnswer, rushBoth, killInTheMiddle };
