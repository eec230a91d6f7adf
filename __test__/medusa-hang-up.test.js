"use strict";

// A real Medusa backend, whose clients stop waiting and ask again while it is at work: every request is done
// once.

const { randomUUID } = require("node:crypto");
const { createRequire } = require("node:module");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { repeatWhileInConflict } = require("../examples/medusa-v1/demo/repeat");
const { VARIANTS, createCart } = require("../examples/medusa-v1/shop");
const { signal } = require("./helpers/flows");
const { EXAMPLE } = require("./helpers/medusa-installed");
const { useShop } = require("./helpers/shop");
const { holdTable, whileInsertsFail } = require("./helpers/shop-faults");
const { startHangingUpProxy } = require("./helpers/shop-proxy");
const { KINDS, expectOneOrder, placeOrders, readyCart } = require("./helpers/shop-requests");

/** Milliseconds; longer than any test: what goes on before has not waited for a lease to run out. */
const NEVER = 600_000;
const SLOW = 600_000;
/** Milliseconds after which clients hang up, wherever their requests are by then. */
const SOON = [0, 5, 10, 20, 40, 80];

const shop = useShop({ leaseTimeout: NEVER, maxDuration: NEVER });

/** Asks as a client that hangs up at once or when it is told to. */
function leaveWhen(ask, options) {
  const leaving = new AbortController();
  const asked = ask({ ...options, signal: leaving.signal }).catch((error) => error.name);
  return { asked, leave: () => leaving.abort() };
}

/** Asks again until the request is not in progress any more. */
async function untilAnswered(ask, options) {
  const again = () => ask(options);
  return repeatWhileInConflict(await again(), again);
}

test.each(KINDS)(
  "%s that is in the middle of its work when its client hangs up",
  async (_, table, begin) => {
    const { ask, expectOnce } = await begin(shop);
    const options = { idempotencyKey: randomUUID() };
    const held = await holdTable(shop.databaseUrl, table);
    const { asked, leave } = leaveWhen(ask, options);
    await held.awaited();
    leave();
    expect(await asked).toBe("AbortError");
    // However often: nobody begins it beside the one that is at work.
    for (let repeat = 0; repeat < 3; repeat += 1) {
      expect((await ask(options)).status).toBe(409);
    }
    await held.release();
    const answer = await untilAnswered(ask, options);
    expect(answer.status).toBe(200);
    await expectOnce(answer);
    expect(await ask(options)).toMatchObject({ status: 200, body: answer.body });
  },
  SLOW,
);

test.each(KINDS)(
  "%s whose client hangs up soon, and asks again at once",
  async (_, _table, begin) => {
    for (const milliseconds of SOON) {
      const { ask, expectOnce } = await begin(shop);
      const options = { idempotencyKey: randomUUID() };
      const { asked, leave } = leaveWhen(ask, options);
      await sleep(milliseconds);
      leave();
      await asked;
      const answer = await untilAnswered(ask, options);
      expect(answer.status).toBe(200);
      await expectOnce(answer);
    }
  },
  SLOW,
);

test.each(KINDS)(
  "%s that fails after its client has gone can be tried again at once",
  async (_, table, begin) => {
    const { ask, expectOnce } = await begin(shop);
    const options = { idempotencyKey: randomUUID() };
    await whileInsertsFail(shop.pool, table, async () => {
      const held = await holdTable(shop.databaseUrl, table);
      const { asked, leave } = leaveWhen(ask, options);
      await held.awaited();
      leave();
      await asked;
      await held.release();
      const failed = await untilAnswered(ask, options);
      expect(failed.status).toBeGreaterThanOrEqual(400);
    });
    const answer = await untilAnswered(ask, options);
    expect(answer.status).toBe(200);
    await expectOnce(answer);
  },
  SLOW,
);

describe("asked by @medusajs/medusa-js, which repeats what was not answered", () => {
  /** What the client is told whose first request is cut in the middle of the work, and the keys that it sent. */
  async function toldThroughCut(table, ask) {
    const { default: Medusa } = createRequire(path.join(EXAMPLE, "package.json"))(
      "@medusajs/medusa-js",
    );
    const held = await holdTable(shop.databaseUrl, table);
    const repeated = signal();
    const proxy = await startHangingUpProxy(shop.url, async (count) => {
      if (count > 1) {
        repeated.send();
        return false;
      }
      await held.awaited();
      return true;
    });
    try {
      const client = new Medusa({ baseUrl: proxy.url, maxRetries: 8 });
      const telling = ask(client);
      await repeated.sent;
      await held.release();
      const { response, ...body } = await telling;
      expect(proxy.keys.length).toBeGreaterThan(1);
      expect(new Set(proxy.keys).size).toBe(1);
      return { status: response.status, body };
    } finally {
      await proxy.stop();
    }
  }

  test(
    "a completion: one order",
    async () => {
      const { id } = await readyCart(shop);
      const answer = await toldThroughCut("order", (client) => client.carts.complete(id));
      await expectOneOrder(shop, id, [answer]);
    },
    SLOW,
  );

  test(
    "a return: one",
    async () => {
      const [order] = await placeOrders(shop, 1);
      const items = [{ item_id: order.items[0].id, quantity: 1 }];
      const { body } = await toldThroughCut("return", (client) =>
        client.returns.create({ order_id: order.id, items }),
      );
      const { rows } = await shop.pool.query('SELECT id FROM "return" WHERE order_id = $1', [
        order.id,
      ]);
      expect(rows).toEqual([{ id: body.return.id }]);
    },
    SLOW,
  );

  test(
    "a line item: added once",
    async () => {
      const { body } = await createCart(shop.url, { variantId: VARIANTS[0] });
      const item = { variant_id: VARIANTS[1], quantity: 2 };
      const answer = await toldThroughCut("line_item", (client) =>
        client.carts.lineItems.create(body.cart.id, item),
      );
      const quantities = answer.body.cart.items.map(({ quantity }) => quantity);
      expect(quantities.sort()).toEqual([1, 2]);
    },
    SLOW,
  );

  test(
    "payment sessions: one",
    async () => {
      const { body } = await createCart(shop.url);
      const answer = await toldThroughCut("payment_session", (client) =>
        client.carts.createPaymentSessions(body.cart.id),
      );
      expect(answer.body.cart.payment_sessions).toHaveLength(1);
    },
    SLOW,
  );
});
