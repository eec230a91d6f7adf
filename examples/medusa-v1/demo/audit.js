"use strict";

const { isDeepStrictEqual } = require("node:util");

/**
 * @typedef {{ cartId: string, variantId: string, key?: string }} Purchase
 * @typedef {{
 *   orders: string[],
 *   payments: string[],
 *   stock: number,
 *   recoveryPoint: string | null,
 *   code: number | null,
 *   body: any,
 * }} State `orders` and `payments`: the ids of the cart's; the last three: of the key, if it is known
 */

/** @typedef {{ name: string, values: (string | number)[], note: string, passed: boolean }} Check */

/**
 * What the database holds of a purchase.
 *
 * @param {import("pg").Client} client
 * @param {Purchase} purchase
 * @returns {Promise<State>}
 */
async function stateOf(client, { cartId, variantId, key }) {
  const { rows } = await client.query(
    `SELECT
       ARRAY(SELECT id::text FROM "order" WHERE cart_id = $1 ORDER BY id) AS orders,
       ARRAY(SELECT id::text FROM payment WHERE cart_id = $1 ORDER BY id) AS payments,
       inventory_quantity AS stock,
       recovery_point AS "recoveryPoint", response_code AS code, response_body AS body
     FROM product_variant LEFT JOIN idempotency_key ON idempotency_key = $3
     WHERE product_variant.id = $2`,
    [cartId, variantId, key],
  );
  return rows[0];
}

/** Each check with what it shows and whether that is what a single completion leaves. */
const CHECKS = [
  {
    name: "orders",
    note: "of the cart",
    show: ({ end }) => end.orders.length,
    passes: ({ end }) => end.orders.length === 1,
  },
  {
    name: "payments",
    note: "of the cart, the one from before the retry",
    show: ({ end }) => end.payments.length,
    passes: ({ end, broken }) =>
      end.payments.length === 1 && isDeepStrictEqual(end.payments, broken.payments),
  },
  {
    name: "pieces",
    note: "gone from the stock",
    show: ({ end, start }) => start.stock - end.stock,
    passes: ({ end, start }) => start.stock - end.stock === 1,
  },
  {
    name: "key",
    note: "is the last recovery point",
    show: ({ end }) => end.recoveryPoint ?? "none",
    passes: ({ end }) => end.recoveryPoint === "finished",
  },
  {
    name: "answer",
    note: "is stored with the key",
    show: ({ end }) => end.code ?? "none",
    passes: ({ end }) => end.code === 200,
  },
  {
    name: "retry",
    note: "was given the stored answer",
    show: (one) => (isStoredAnswer(one) ? "same" : "another"),
    passes: isStoredAnswer,
  },
  {
    name: "its order",
    note: "is the order of the database",
    show: (one) => (isOrderOfCart(one) ? "same" : "another"),
    passes: isOrderOfCart,
  },
];

function isStoredAnswer({ end, answer }) {
  const sent = { code: answer.status, body: asReplayed(answer.body) };
  return isDeepStrictEqual(sent, { code: end.code, body: asReplayed(end.body) });
}

/** Medusa stores a figure of its own with the answer, which it leaves out where it replays it. */
function asReplayed(body) {
  const withoutFigure = (name, value) => (name === "raw_discount_total" ? undefined : value);
  return JSON.parse(JSON.stringify(body), withoutFigure);
}

function isOrderOfCart({ end, answer }) {
  return isDeepStrictEqual([answer.body?.data?.id], end.orders);
}

/**
 * Compares what the database holds of purchases with what a single completion each would have left.
 *
 * @param {import("pg").Client} client
 * @param {{ purchase: Purchase, start: State, broken: State, answer: { status: number, body: any } }[]} purchases
 *   each with its state before the first try and after it, and the retry's answer
 * @returns {Promise<Check[]>}
 */
async function audit(client, purchases) {
  const ended = [];
  for (const one of purchases) {
    ended.push({ ...one, end: await stateOf(client, one.purchase) });
  }
  return CHECKS.map(({ name, note, show, passes }) => ({
    name,
    values: ended.map(show),
    note,
    passed: ended.every(passes),
  }));
}

module.exports = { stateOf, audit };
