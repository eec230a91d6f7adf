"use strict";

// Requests to a shop that are to be done once, whatever happens to them, and how that is told.

const { leftBy } = require("../../examples/medusa-v1/demo/rush");
const {
  VARIANTS,
  createCart,
  addLineItem,
  createPaymentSessions,
  createReadyCart,
  completeCart,
  placeOrder,
  createReturn,
} = require("../../examples/medusa-v1/shop");

const atOnce = (count, ask) => Promise.all(Array.from({ length: count }, ask));

/** Expects one order of a cart, with all that belongs to it, and that the answers are that order. */
async function expectOneOrder(shop, cartId, answers) {
  const left = await leftBy(shop.pool, cartId);
  expect(left).toEqual({ orders: [expect.any(String)], payments: 1, taxable: 2, taxed: 2 });
  const answered = answers.map(({ status, body }) => ({ status, order: body.data?.id }));
  expect(answered).toEqual(answers.map(() => ({ status: 200, order: left.orders[0] })));
}

async function readyCart({ url }, options) {
  const { body } = await createReadyCart(url, options);
  return body.cart;
}

async function placeOrders({ url }, count, options) {
  const orders = await atOnce(count, () => placeOrder(url, options));
  return orders.map(({ body }) => body.data);
}

/** Kinds of requests: the table that each writes to, and its making for a shop. */
const KINDS = [
  ["a completion", "order", completion],
  ["a return", "return", returning],
  ["payment sessions, which have no stages,", "payment_session", paymentSessions],
  ["a line item, which has none,", "line_item", lineItem],
];

async function completion(shop) {
  const { id } = await readyCart(shop);
  return {
    ask: (options) => completeCart(shop.url, id, options),
    expectOnce: (answer) => expectOneOrder(shop, id, [answer]),
  };
}

async function returning(shop) {
  const [order] = await placeOrders(shop, 1);
  return {
    ask: (options) => createReturn(shop.url, order, options),
    async expectOnce({ body }) {
      const { rows } = await shop.pool.query('SELECT id FROM "return" WHERE order_id = $1', [
        order.id,
      ]);
      expect(rows).toEqual([{ id: body.return.id }]);
    },
  };
}

async function lineItem(shop) {
  const { body } = await createCart(shop.url, { variantId: VARIANTS[0] });
  const item = { variantId: VARIANTS[1], quantity: 2 };
  return {
    ask: (options) => addLineItem(shop.url, body.cart.id, { ...item, ...options }),
    async expectOnce(answer) {
      const quantities = answer.body.cart.items.map(({ quantity }) => quantity);
      expect(quantities.sort()).toEqual([1, 2]);
    },
  };
}

async function paymentSessions(shop) {
  const { body } = await createCart(shop.url);
  return {
    ask: (options) => createPaymentSessions(shop.url, body.cart.id, options),
    expectOnce: async (answer) => expect(answer.body.cart.payment_sessions).toHaveLength(1),
  };
}

module.exports = { KINDS, atOnce, expectOneOrder, placeOrders, readyCart };
