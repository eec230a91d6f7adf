"use strict";

// A shop's HTTP client, as a storefront and the admin's browser are. What does one request resolves
// to its answer, whatever the status; what does several throws where one of them is refused.

const { randomUUID } = require("node:crypto");
const { regions, products, shipping_options: shippingOptions, users } = require("./data/seed.json");

const REGION = regions[0].id;
const SHIPPING_OPTION = shippingOptions.find((option) => !option.is_return).id;
const RETURN_SHIPPING_OPTION = shippingOptions.find((option) => option.is_return).id;
const VARIANTS = products.flatMap(({ variants }) => variants.map(({ id }) => id));
const ADMIN = { email: users[0].email, password: users[0].password };
const ADDRESS = {
  first_name: "Ada",
  last_name: "Lovelace",
  address_1: "Unter den Linden 1",
  city: "Berlin",
  postal_code: "10117",
  country_code: "de",
};

/**
 * @typedef {{ status: number, headers: Record<string, string>, body: any }} Answer `body`: what
 *   the JSON says, or the text where it is none
 * @typedef {{ idempotencyKey?: string, token?: string, signal?: AbortSignal }} RequestOptions
 *   `idempotencyKey`: the header; `token`: an admin's, from `logIn`
 */

/**
 * @param {string} url the backend's
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {RequestOptions} [options]
 * @returns {Promise<Answer>}
 */
async function request(url, method, path, body, { idempotencyKey, token, signal } = {}) {
  const headers = {
    ...(body !== undefined && { "Content-Type": "application/json" }),
    ...(idempotencyKey !== undefined && { "Idempotency-Key": idempotencyKey }),
    ...(token !== undefined && { Authorization: `Bearer ${token}` }),
  };
  const response = await fetch(url + path, { method, headers, body: JSON.stringify(body), signal });
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: parsed(await response.text()),
  };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The answer, if it is a good one. */
async function accepted(answering) {
  const answer = await answering;
  if (answer.status >= 300) {
    throw new Error(`the shop answered ${answer.status}: ${JSON.stringify(answer.body)}`);
  }
  return answer;
}

/** Of the options for several requests, those that each of them takes. */
function forEach({ token, signal }) {
  return { token, signal };
}

let sold = 0;

/** Another one each time: carts of one variant wait for each other at its stock. */
function nextVariant() {
  sold += 1;
  return VARIANTS[sold % VARIANTS.length];
}

/** A cart with one line item; `body.cart`. */
function createCart(url, { variantId = nextVariant(), quantity = 1, ...options } = {}) {
  const items = [{ variant_id: variantId, quantity }];
  return request(url, "POST", "/store/carts", { region_id: REGION, items }, options);
}

/** `body.cart`. One of the requests that take an idempotency key. */
function addLineItem(url, cartId, { variantId = nextVariant(), quantity = 1, ...options } = {}) {
  const item = { variant_id: variantId, quantity };
  return request(url, "POST", `/store/carts/${cartId}/line-items`, item, options);
}

/** `body.cart`. One of the requests that take an idempotency key. */
function createPaymentSessions(url, cartId, options) {
  return request(url, "POST", `/store/carts/${cartId}/payment-sessions`, undefined, options);
}

/** `body.cart`. One of the requests that take an idempotency key. */
function calculateTaxes(url, cartId, options) {
  return request(url, "POST", `/store/carts/${cartId}/taxes`, undefined, options);
}

/**
 * A cart with a line item, an address, shipping and a manual payment: only to be completed. An
 * idempotency key is for one request: here for the first, that makes the cart.
 */
async function createReadyCart(url, options = {}) {
  const each = forEach(options);
  const { body } = await accepted(createCart(url, options));
  const cart = `/store/carts/${body.cart.id}`;
  // A customer of its own: two carts that make the same one at once are refused.
  const email = `ada-${randomUUID()}@example.com`;
  const contact = { email, shipping_address: ADDRESS, billing_address: ADDRESS };
  const shipping = { option_id: SHIPPING_OPTION };
  await accepted(request(url, "POST", cart, contact, each));
  await accepted(request(url, "POST", `${cart}/shipping-methods`, shipping, each));
  // The only payment provider is selected at once.
  return accepted(createPaymentSessions(url, body.cart.id, each));
}

/** `body.type` is `"order"` and `body.data` the order. Takes an idempotency key. */
function completeCart(url, cartId, options) {
  return request(url, "POST", `/store/carts/${cartId}/complete`, undefined, options);
}

/** Fills a cart and completes it with the idempotency key; `body.data` is the order. */
async function placeOrder(url, { idempotencyKey, ...options } = {}) {
  const { body } = await createReadyCart(url, options);
  return accepted(completeCart(url, body.cart.id, { idempotencyKey, ...forEach(options) }));
}

/** `body.access_token` is what the admin's requests take as their `token`. */
function logIn(url, credentials = ADMIN) {
  return request(url, "POST", "/admin/auth/token", credentials);
}

/** An order that is paid and sent, as one has to be that is swapped; `body.order`. */
async function placeShippedOrder(url, token, options = {}) {
  const asAdmin = { ...forEach(options), token };
  const { body } = await placeOrder(url, options);
  const order = `/admin/orders/${body.data.id}`;
  await accepted(request(url, "POST", `${order}/capture`, undefined, asAdmin));
  const items = body.data.items.map(({ id, quantity }) => ({ item_id: id, quantity }));
  const fulfilled = await accepted(
    request(url, "POST", `${order}/fulfillment`, { items }, asAdmin),
  );
  const [{ id }] = fulfilled.body.order.fulfillments;
  return accepted(request(url, "POST", `${order}/shipment`, { fulfillment_id: id }, asAdmin));
}

/** One piece of an order's first line item. */
function onePieceOf(order) {
  return { item_id: order.items[0].id, quantity: 1 };
}

/** The customer sends a piece back; `body.return`. Takes an idempotency key. */
function createReturn(url, order, options) {
  const body = {
    order_id: order.id,
    items: [onePieceOf(order)],
    return_shipping: { option_id: RETURN_SHIPPING_OPTION },
  };
  return request(url, "POST", "/store/returns", body, options);
}

/** The customer wants another variant for a piece; `body.swap`. Takes an idempotency key. */
function createSwap(url, order, { variantId = nextVariant(), ...options } = {}) {
  const body = {
    order_id: order.id,
    return_items: [onePieceOf(order)],
    additional_items: [{ variant_id: variantId, quantity: 1 }],
    return_shipping_option: RETURN_SHIPPING_OPTION,
  };
  return request(url, "POST", "/store/swaps", body, options);
}

/** The admin asks for a piece back; `body.order`. Takes an idempotency key, needs a token. */
function requestReturn(url, order, options) {
  const body = {
    items: [onePieceOf(order)],
    return_shipping: { option_id: RETURN_SHIPPING_OPTION },
  };
  return request(url, "POST", `/admin/orders/${order.id}/return`, body, options);
}

/** The admin swaps a piece; `body.order`. Takes an idempotency key, needs a token. */
function requestSwap(url, order, { variantId = nextVariant(), ...options } = {}) {
  const body = {
    return_items: [onePieceOf(order)],
    return_shipping: { option_id: RETURN_SHIPPING_OPTION },
    additional_items: [{ variant_id: variantId, quantity: 1 }],
  };
  return request(url, "POST", `/admin/orders/${order.id}/swaps`, body, options);
}

/** The admin refunds a broken piece; `body.order`. Takes an idempotency key, needs a token. */
function createClaim(url, order, options) {
  const body = {
    type: "refund",
    claim_items: [{ ...onePieceOf(order), reason: "production_failure" }],
  };
  return request(url, "POST", `/admin/orders/${order.id}/claims`, body, options);
}

module.exports = {
  VARIANTS,
  request,
  createCart,
  addLineItem,
  createPaymentSessions,
  calculateTaxes,
  createReadyCart,
  completeCart,
  placeOrder,
  logIn,
  placeShippedOrder,
  createReturn,
  createSwap,
  requestReturn,
  requestSwap,
  createClaim,
};
