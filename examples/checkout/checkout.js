"use strict";

// A checkout in four work stages. Killed anywhere and retried with its idempotency key, it goes on
// from its recovery point, and each effect happens once.

const { randomUUID } = require("node:crypto");

/** Nothing here is unique but the cart: that there is one payment is up to the idempotency key. */
const TABLES = `
  CREATE TABLE cart (id text PRIMARY KEY, email text NOT NULL, subtotal integer NOT NULL);
  CREATE TABLE tax_line (cart_id text NOT NULL, amount integer NOT NULL);
  CREATE TABLE payment (id text NOT NULL, cart_id text NOT NULL, amount integer NOT NULL);
  CREATE TABLE "order" (id text NOT NULL, cart_id text NOT NULL, total integer NOT NULL);
  CREATE TABLE confirmation (order_id text NOT NULL, email text NOT NULL);
`;

/**
 * Completes a cart.
 *
 * @param {import("../..").IdempotencyKeyService} service
 * @param {string} key the idempotency key that the client repeats with each retry
 * @param {object} options
 * @param {string} options.cartId
 * @param {(recoveryPoint: string) => Promise<void> | void} [options.onBegin] called with where the
 *   request goes on from
 * @param {(stage: string, moment: "middle" | "after") => Promise<void> | void} [options.onStage]
 *   called in each stage's open transaction, and again after its commit
 * @returns {Promise<import("../..").IdempotencyKey>} the finished key, with the answer
 */
async function checkout(service, key, { cartId, onBegin, onStage }) {
  const path = `/store/carts/${cartId}/complete`;
  let request = await service.initializeRequest(key, "POST", { cart_id: cartId }, path);
  await onBegin?.(request.recovery_point);

  const runStage = async (stage, work) => {
    request = await service.workStage(request, async (manager) => {
      const outcome = await work(manager, cartId);
      await onStage?.(stage, "middle");
      return outcome;
    });
    await onStage?.(stage, "after");
  };

  while (request.recovery_point !== "finished") {
    switch (request.recovery_point) {
      case "started":
        await runStage("taxes", calculateTaxes);
        break;
      case "taxes_calculated":
        await runStage("payment", capturePayment);
        break;
      case "payment_captured":
        await runStage("order", placeOrder);
        break;
      case "order_placed":
        await runStage("confirmation", confirmOrder);
        break;
      default:
        throw new Error(`the checkout knows no recovery point "${request.recovery_point}"`);
    }
  }
  return request;
}

async function calculateTaxes(manager, cartId) {
  await manager.query(
    `INSERT INTO tax_line (cart_id, amount)
     SELECT id, round(subtotal * 0.2) FROM cart WHERE id = $1`,
    [cartId],
  );
  return { recovery_point: "taxes_calculated" };
}

/**
 * The payment provider is this table here. One that is called over the network is no part of the
 * transaction: give it the idempotency key too, so that it knows the retry.
 */
async function capturePayment(manager, cartId) {
  await manager.query(
    `INSERT INTO payment (id, cart_id, amount)
     SELECT $1, cart.id, cart.subtotal + tax_line.amount
     FROM cart JOIN tax_line ON tax_line.cart_id = cart.id WHERE cart.id = $2`,
    [`pay_${randomUUID()}`, cartId],
  );
  return { recovery_point: "payment_captured" };
}

async function placeOrder(manager, cartId) {
  await manager.query(
    `INSERT INTO "order" (id, cart_id, total)
     SELECT $1, cart_id, amount FROM payment WHERE cart_id = $2`,
    [`order_${randomUUID()}`, cartId],
  );
  return { recovery_point: "order_placed" };
}

async function confirmOrder(manager, cartId) {
  const [order] = await manager.query(`SELECT id, total FROM "order" WHERE cart_id = $1`, [cartId]);
  await manager.query(
    `INSERT INTO confirmation (order_id, email) SELECT $1, email FROM cart WHERE id = $2`,
    [order.id, cartId],
  );
  return { response_code: 200, response_body: { type: "order", data: order } };
}

module.exports = { TABLES, checkout };
