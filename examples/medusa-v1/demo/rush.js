"use strict";

// Many callers who complete one cart at once, with one idempotency key.

const { randomUUID } = require("node:crypto");
const { completeCart, createReadyCart } = require("../shop");
const { repeatWhileInConflict } = require("./repeat");

const CALLERS = 8;

/**
 * @typedef {{
 *   statuses: number[],
 *   endings: { status: number, body: any }[],
 *   orders: string[],
 *   payments: number,
 *   taxable: number,
 *   taxed: number,
 * }} Rush `statuses`: of the first answers; `endings`: the last answer to each caller, who repeats
 *   while there is a conflict; the others: what the database holds of the cart in the end. `taxable`:
 *   its line items and shipping methods, `taxed`: those of them that have tax lines
 */

/**
 * @param {{ url: string }} backend
 * @param {import("pg").Client} client of the backend's database
 * @param {AbortSignal} signal
 * @returns {Promise<Rush>}
 */
async function rush(backend, client, signal) {
  const { body } = await createReadyCart(backend.url, { signal });
  const cartId = body.cart.id;
  const options = { idempotencyKey: randomUUID(), signal };
  const complete = () => completeCart(backend.url, cartId, options);
  const answers = await Promise.all(Array.from({ length: CALLERS }, complete));
  const endings = await Promise.all(
    answers.map((answer) => repeatWhileInConflict(answer, complete, signal)),
  );
  const statuses = answers.map(({ status }) => status);
  return { statuses, endings, ...(await leftBy(client, cartId)) };
}

/** What the database holds of a cart that was completed. */
async function leftBy(client, cartId) {
  const { rows } = await client.query(
    `WITH taxable AS (
       SELECT EXISTS (SELECT FROM line_item_tax_line WHERE item_id = line_item.id) AS taxed
       FROM line_item WHERE cart_id = $1
       UNION ALL
       SELECT EXISTS (
         SELECT FROM shipping_method_tax_line WHERE shipping_method_id = shipping_method.id
       )
       FROM shipping_method WHERE cart_id = $1
     )
     SELECT
       ARRAY(SELECT id::text FROM "order" WHERE cart_id = $1) AS orders,
       (SELECT count(*)::int FROM payment WHERE cart_id = $1) AS payments,
       (SELECT count(*)::int FROM taxable) AS taxable,
       (SELECT count(*)::int FROM taxable WHERE taxed) AS taxed`,
    [cartId],
  );
  return rows[0];
}

module.exports = { CALLERS, leftBy, rush };
