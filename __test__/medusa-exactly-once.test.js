"use strict";

// The default mode in a real Medusa backend: a request and its repetitions, one after the other or at
// once, across failures and SIGKILL, are done once; and a key answers for no other request.

const { randomUUID } = require("node:crypto");
const { createRequire } = require("node:module");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { repeatWhileInConflict } = require("../examples/medusa-v1/demo/repeat");
const { leftBy } = require("../examples/medusa-v1/demo/rush");
const {
  request,
  createCart,
  addLineItem,
  createPaymentSessions,
  calculateTaxes,
  completeCart,
  placeOrder,
  placeShippedOrder,
  createReturn,
  createSwap,
  requestReturn,
  requestSwap,
  createClaim,
} = require("../examples/medusa-v1/shop");
const { EXAMPLE } = require("./helpers/medusa-installed");
const { useShop } = require("./helpers/shop");
const {
  KINDS,
  atOnce,
  expectOneOrder,
  placeOrders,
  readyCart,
} = require("./helpers/shop-requests");
const { holdTable, whileInsertsFail } = require("./helpers/shop-faults");

/** Milliseconds; longer than any test: what goes on before has not waited for a lease to run out. */
const NEVER = 600_000;
const SLOW = 600_000;
const CARTS = 8;
const KILLS = 4;
/** Milliseconds from the requests to the kill; the completions take about twice as long. */
const LONGEST_LIFE = 1000;
const REFUSED = { status: 409, body: "Failed to create idempotency key" };

const statuses = (answers) => answers.map(({ status }) => status);
const countOf = async ({ pool }, sql, parameters) =>
  (await pool.query(`SELECT count(*)::int AS count FROM ${sql}`, parameters)).rows[0].count;

/** Notes which kinds of predicate locks serializable transactions have on the keys' table and indexes. */
function watchPredicateLocks({ pool }) {
  const kinds = new Set();
  let isOver = false;
  const watching = (async () => {
    while (!isOver) {
      const { rows } = await pool.query(
        // Shops of one template have relations of the same numbers.
        `SELECT DISTINCT locktype FROM pg_locks JOIN pg_database ON pg_database.oid = database
         WHERE datname = current_database() AND mode = 'SIReadLock' AND relation IN (
           SELECT 'idempotency_key'::regclass UNION ALL
           SELECT indexrelid FROM pg_index WHERE indrelid = 'idempotency_key'::regclass)`,
      );
      rows.forEach(({ locktype }) => kinds.add(locktype));
    }
  })();
  return {
    async stop() {
      isOver = true;
      await watching;
      return [...kinds];
    },
  };
}

/** The last answers to callers who ask until there is no conflict. */
function untilAnswered(answers, ask) {
  return Promise.all(answers.map((answer) => repeatWhileInConflict(answer, ask)));
}

/** The answer to a caller who asks until there is no conflict. */
async function answerTo(ask) {
  return repeatWhileInConflict(await ask(), ask);
}

/** Asks many times at once: one is answered, the others too or told that it is in progress. */
async function expectInProgress(callers, ask) {
  const answers = await atOnce(callers, ask);
  expect(statuses(answers)).toContain(200);
  expect(statuses(answers).filter((status) => ![200, 409].includes(status))).toEqual([]);
  return answers;
}

/** One piece; without shipping, whose fulfillment Medusa writes where other returns read. */
function sendBack({ url }, order, { quantity = 1, ...options }) {
  const items = [{ item_id: order.items[0].id, quantity }];
  return request(url, "POST", "/store/returns", { order_id: order.id, items }, options);
}

describe("in one backend", () => {
  const shop = useShop({ leaseTimeout: NEVER });

  describe("at once, with one key", () => {
    test.each([8, 32])("%i completions make one order", async (callers) => {
      const { id } = await readyCart(shop);
      const options = { idempotencyKey: randomUUID() };
      const complete = () => completeCart(shop.url, id, options);
      const answers = await expectInProgress(callers, complete);
      await expectOneOrder(shop, id, await untilAnswered(answers, complete));
    });

    test("completions of several carts make one order each", async () => {
      const carts = await atOnce(5, () => readyCart(shop));
      await Promise.all(
        carts.map(async ({ id }) => {
          const complete = () => completeCart(shop.url, id, { idempotencyKey: `key-of-${id}` });
          const answers = await expectInProgress(8, complete);
          await expectOneOrder(shop, id, await untilAnswered(answers, complete));
        }),
      );
    });

    test("all that ask through @medusajs/medusa-js get the one order", async () => {
      const { default: Medusa } = createRequire(path.join(EXAMPLE, "package.json"))(
        "@medusajs/medusa-js",
      );
      const { id } = await readyCart(shop);
      const headers = { "Idempotency-Key": randomUUID() };
      const told = await atOnce(8, async () => {
        const client = new Medusa({ baseUrl: shop.url, maxRetries: 5 });
        return client.carts.complete(id, headers);
      });
      const answers = told.map(({ response, ...body }) => ({ status: response.status, body }));
      await expectOneOrder(shop, id, answers);
    });

    test("line items are added once", async () => {
      const { body } = await createCart(shop.url);
      const [{ variant_id: variantId }] = body.cart.items;
      const options = { variantId, idempotencyKey: randomUUID() };
      const add = () => addLineItem(shop.url, body.cart.id, options);
      const answers = await untilAnswered(await expectInProgress(8, add), add);
      const quantities = answers.map((answer) => answer.body.cart.items[0].quantity);
      expect(new Set(quantities)).toEqual(new Set([2]));
      expect((await add()).body.cart.items).toMatchObject([{ quantity: 2 }]);
    });

    test.each([
      ["payment sessions", createPaymentSessions],
      ["taxes", calculateTaxes],
    ])("%s are answered alike", async (_, ask) => {
      const { id } = await readyCart(shop);
      const options = { idempotencyKey: randomUUID() };
      const asking = () => ask(shop.url, id, options);
      const answers = await untilAnswered(await expectInProgress(8, asking), asking);
      expect(answers.map(({ body }) => body.cart.id)).toEqual(Array(8).fill(id));
      expect(await countOf(shop, "payment_session WHERE cart_id = $1", [id])).toBe(1);
    });

    test("returns are made once, also one after the other", async () => {
      const [order] = await placeOrders(shop, 1, { quantity: 3 });
      const options = { idempotencyKey: randomUUID() };
      const create = () => createReturn(shop.url, order, options);
      const answers = await untilAnswered(await expectInProgress(8, create), create);
      answers.push(await create(), await create());
      expect(new Set(answers.map(({ body }) => body.return.id)).size).toBe(1);
      expect(await countOf(shop, '"return" WHERE order_id = $1', [order.id])).toBe(1);
    });

    test.each([
      ["swaps", createSwap, "swap"],
      ["returns of the admin", requestReturn, "return"],
      ["swaps of the admin", requestSwap, "swap"],
      ["claims", createClaim, "claim_order"],
    ])("%s are made once", async (_, ask, table) => {
      const { url, token } = shop;
      const placed = await placeShippedOrder(url, token, { quantity: 3 });
      const { order } = placed.body;
      const [{ variant_id: variantId }] = order.items;
      const options = { variantId, token, idempotencyKey: randomUUID() };
      const asking = () => ask(url, order, options);
      const answers = await untilAnswered(await expectInProgress(8, asking), asking);
      expect(new Set(statuses(answers))).toEqual(new Set([200]));
      expect(await countOf(shop, `"${table}" WHERE order_id = $1`, [order.id])).toBe(1);
    });
  });

  describe("with orders of many customers", () => {
    const orders = [];

    beforeAll(async () => {
      for (let batch = 0; batch < 3; batch += 1) {
        orders.push(...(await placeOrders(shop, 8, { quantity: 30 })));
      }
    }, SLOW);

    test(
      "24 serializable returns at once do not hinder each other",
      async () => {
        const ROUNDS = 5;
        // PostgreSQL reads a table of very few pages whole, which locks it whole.
        await shop.pool.query(
          `INSERT INTO idempotency_key (id, idempotency_key, recovery_point)
           SELECT 'ikey_old_' || n, 'old-' || n, 'finished' FROM generate_series(1, 5000) AS n`,
        );
        await shop.pool.query("ANALYZE idempotency_key");
        const rounds = [];
        const isEnough = () => {
          const last = rounds.slice(-ROUNDS);
          return last.length === ROUNDS && last.reduce((sum, round) => sum + round) >= ROUNDS * 23;
        };
        // Medusa's own "return", which the last stage reads whole, aborts some in busy moments.
        while (!isEnough() && rounds.length < 4 * ROUNDS) {
          rounds.push(await returnAll());
        }
        expect({ rounds, isEnough: isEnough() }).toEqual({ rounds, isEnough: true });
        const ids = orders.map(({ id }) => id);
        const made = await countOf(shop, '"return" WHERE order_id = ANY ($1)', [ids]);
        expect(made).toBe(rounds.length * orders.length);
      },
      SLOW,
    );

    /** How many of the 24 succeed at the first try; in the end all of them have. */
    async function returnAll() {
      const asked = orders.map((order) => {
        const options = { idempotencyKey: randomUUID() };
        return () => sendBack(shop, order, options);
      });
      const watch = watchPredicateLocks(shop);
      const answers = await Promise.all(asked.map((ask) => ask()));
      // On the keys' index one would abort requests of other keys.
      expect(await watch.stop()).toEqual(["tuple"]);
      await Promise.all(answers.map((answer, i) => repeatWhileInConflict(answer, asked[i])));
      return statuses(answers).filter((status) => status === 200).length;
    }

    describe("a key is for one request", () => {
      const idempotencyKey = randomUUID();
      let returned;

      beforeAll(async () => {
        const answer = await sendBack(shop, orders[0], { idempotencyKey });
        returned = answer.body.return;
      });

      test.each([
        ["a swap", ({ url }) => createSwap(url, orders[0], { idempotencyKey })],
        ["a return of another order", () => sendBack(shop, orders[1], { idempotencyKey })],
        ["a return of more", () => sendBack(shop, orders[0], { quantity: 2, idempotencyKey })],
        [
          "the admin's return",
          ({ url, token }) => requestReturn(url, orders[0], { token, idempotencyKey }),
        ],
        ["a claim", ({ url, token }) => createClaim(url, orders[0], { token, idempotencyKey })],
        ["a completion", ({ url }) => completeCart(url, orders[0].cart_id, { idempotencyKey })],
        ["a line item", ({ url }) => addLineItem(url, orders[0].cart_id, { idempotencyKey })],
        ["taxes", ({ url }) => calculateTaxes(url, orders[0].cart_id, { idempotencyKey })],
      ])("%s with a return's key is refused, and told nothing of it", async (_, ask) => {
        const count = () =>
          countOf(
            shop,
            `(SELECT id FROM "return" UNION ALL SELECT id FROM swap UNION ALL SELECT id FROM claim_order
            UNION ALL SELECT id FROM line_item) AS made`,
          );
        const before = await count();
        const answer = await ask(shop);
        expect(answer).toMatchObject(REFUSED);
        expect(JSON.stringify(answer)).not.toContain(returned.id);
        expect(await count()).toBe(before);
      });

      test("the return itself is still answered", async () => {
        const again = await sendBack(shop, orders[0], { idempotencyKey });
        expect(again).toMatchObject({ status: 200, body: { return: { id: returned.id } } });
      });

      test("a completion with another cart's key is refused", async () => {
        const { id } = await readyCart(shop);
        const key = randomUUID();
        const { body } = await placeOrder(shop.url, { idempotencyKey: key });
        const answer = await completeCart(shop.url, id, { idempotencyKey: key });
        expect(answer).toMatchObject(REFUSED);
        expect(JSON.stringify(answer)).not.toContain(body.data.id);
        expect(await leftBy(shop.pool, id)).toMatchObject({ orders: [], payments: 0 });
      });

      describe("a route that passes the error on answers 422", () => {
        const initialize = (options, body = {}) =>
          request(shop.url, "POST", "/store/custom-initialize", body, options);
        const reused = { status: 422, body: { type: "duplicate_error" } };

        test("another body", async () => {
          const options = { idempotencyKey: randomUUID() };
          expect(await initialize(options, { a: 1, b: 2 })).toMatchObject({ status: 200 });
          expect(await initialize(options, { a: 1, b: 3 })).toMatchObject(reused);
          const same = await answerTo(() => initialize(options, { b: 2, a: 1 }));
          expect(same).toMatchObject({ status: 200 });
        });

        // Of a row that has no fingerprint, as those from before the migration.
        test.each([
          ["method", "request_method = 'PUT'"],
          ["path", "request_path = '/elsewhere'"],
          ["parameter", `request_params = '{"id": "1"}'`],
        ])("another %s", async (_, change) => {
          const options = { idempotencyKey: randomUUID() };
          await initialize(options);
          await shop.pool.query(
            `UPDATE idempotency_key SET request_fingerprint = NULL, ${change}
           WHERE idempotency_key = $1`,
            [options.idempotencyKey],
          );
          expect(await initialize(options)).toMatchObject(reused);
        });
      });
    });
  });

  describe("a request that has failed is tried again at once, with its key", () => {
    test.each(KINDS)("%s that threw", async (_, table, begin) => {
      const { ask, expectOnce } = await begin(shop);
      const asking = () => ask({ idempotencyKey });
      const idempotencyKey = randomUUID();
      await whileInsertsFail(shop.pool, table, async () => {
        expect(await asking()).toMatchObject({ status: 500 });
        expect(await answerTo(asking)).toMatchObject({ status: 500 });
      });
      await expectOnce(await answerTo(asking));
    });

    test.each(KINDS)("%s whose connection was cut", async (_, table, begin) => {
      const { ask, expectOnce } = await begin(shop);
      const idempotencyKey = randomUUID();
      const asking = () => ask({ idempotencyKey });
      const hold = await holdTable(shop.databaseUrl, table);
      try {
        const failing = asking();
        await hold.awaited();
        await hold.cut();
        expect((await failing).status).toBeGreaterThanOrEqual(500);
      } finally {
        await hold.release();
      }
      await expectOnce(await answerTo(asking));
    });

    test("one that was invalid, once it is valid", async () => {
      const [order] = await placeOrders(shop, 1);
      const idempotencyKey = randomUUID();
      const invalid = await sendBack(shop, { ...order, items: [{}] }, { idempotencyKey });
      expect(invalid).toMatchObject({ status: 400, body: { type: "invalid_data" } });
      const valid = () => sendBack(shop, order, { idempotencyKey });
      expect(await answerTo(valid)).toMatchObject({ status: 200 });
    });

    test("one that is refused again", async () => {
      const [order] = await placeOrders(shop, 1);
      const idempotencyKey = randomUUID();
      const tooMany = () => sendBack(shop, order, { quantity: 2, idempotencyKey });
      const refused = await tooMany();
      expect(refused).toMatchObject({ status: 400 });
      expect((await answerTo(tooMany)).body).toEqual(refused.body);
    });
  });
});

describe("a backend that is killed", () => {
  const leaseTimeout = 3000;
  const shop = useShop({ leaseTimeout });

  test.each(KINDS)(
    "in the middle of %s",
    async (_, table, begin) => {
      const { ask, expectOnce } = await begin(shop);
      const idempotencyKey = randomUUID();
      const asking = () => ask({ idempotencyKey });
      const hold = await holdTable(shop.databaseUrl, table);
      try {
        const lost = asking().catch(() => "lost");
        await hold.awaited();
        await shop.kill();
        expect(await lost).toBe("lost");
      } finally {
        await hold.release();
      }
      await shop.start();
      await expectOnce(await answerTo(asking));
    },
    SLOW,
  );

  test(
    "at any moment completes each cart once",
    async () => {
      const carts = await atOnce(CARTS, () => readyCart(shop));
      const completions = carts.map(
        ({ id }) =>
          () =>
            completeCart(shop.url, id, { idempotencyKey: `key-of-${id}` }),
      );
      for (let kill = 0; kill < KILLS; kill += 1) {
        const asked = completions.map((complete) => complete().catch(() => {}));
        await sleep(Math.random() * LONGEST_LIFE);
        await shop.kill();
        await Promise.all(asked);
        await shop.start();
      }
      const answers = await Promise.all(completions.map(answerTo));
      for (const [i, { id }] of carts.entries()) {
        await expectOneOrder(shop, id, [answers[i]]);
      }
    },
    SLOW,
  );
});
