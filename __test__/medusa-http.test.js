"use strict";

// Real Medusa backends, one with its own idempotency keys and two with this package's, in mode
// "medusa" and as it is: what is asked of them over HTTP, one after the other, is answered alike, and
// leaves the same rows. Where they differ, a test says so.

const { randomUUID } = require("node:crypto");
const { createRequire } = require("node:module");
const path = require("node:path");
const {
  VARIANTS,
  request,
  createCart,
  addLineItem,
  createPaymentSessions,
  calculateTaxes,
  createReadyCart,
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
const { useShops } = require("./helpers/shop-backends");
const { startLossyProxy } = require("./helpers/shop-lossy-proxy");
const { observe } = require("./helpers/shop-observations");

// All shops have to be asked for the same.
const [variantId, otherVariantId] = VARIANTS;

const keyOf = (answer) => answer.headers["idempotency-key"];

/** Plays a scenario in all shops; resolves to what was seen in each. */
async function play(shops, scenario) {
  const names = Object.keys(shops);
  // None goes on into the next test where another one fails.
  const seen = await Promise.allSettled(names.map((name) => observe(shops[name], scenario)));
  const failed = seen.find(({ reason }) => reason);
  if (failed) {
    throw failed.reason;
  }
  return Object.fromEntries(names.map((name, index) => [name, seen[index].value]));
}

/** Plays a scenario that has to come to the same in all shops; resolves to what it came to. */
async function expectSame(shops, scenario) {
  const { medusa, likeMedusas, ours } = await play(shops, scenario);
  expect(likeMedusas).toEqual(medusa);
  expect(ours).toEqual(medusa);
  return ours;
}

/** Plays a scenario that only in mode "medusa" comes to the same as in Medusa's own shop. */
async function expectOtherThanMedusa(shops, scenario) {
  const { medusa, likeMedusas, ours } = await play(shops, scenario);
  expect(likeMedusas).toEqual(medusa);
  return { medusa, ours };
}

const statuses = ({ answers }) => answers.map(({ status }) => status);

/** A request, its repetition with the key of its answer, and with a key of the client's own. */
async function askThreeTimes({ name }, ask) {
  const first = await ask({});
  const again = await ask({ idempotencyKey: keyOf(first) });
  expect(keyOf(again)).toBe(keyOf(first));
  const idempotencyKey = randomUUID();
  const ofClient = await ask({ idempotencyKey });
  expect(keyOf(ofClient)).not.toBe(keyOf(first));
  expect(keyOf(ofClient) === idempotencyKey).toBe(name === "ours");
  return [first, again, ofClient];
}

async function connectionsOfService({ pool }) {
  const { rows } = await pool.query(
    `SELECT count(*)::int AS count FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'medusa-idempotency-key'`,
  );
  return rows[0].count;
}

describe("Medusa's routes", () => {
  const shops = useShops();

  test.each(["custom", "custom-initialize"])("the documentation's route, %s", async (route) => {
    const seen = await expectSame(shops, async ({ url }) => {
      const ask = async (idempotencyKey) => {
        const answer = await request(url, "POST", `/store/${route}`, {}, { idempotencyKey });
        // In the answer a lease may still be there.
        delete answer.body.idempotency_key.locked_at;
        return answer;
      };
      const first = await ask();
      const known = first.body.idempotency_key.idempotency_key;
      return [first, await ask(known), await ask(randomUUID())];
    });
    expect(statuses(seen)).toEqual([200, 200, 200]);
    expect(await connectionsOfService(shops.ours)).toBeGreaterThan(0);
    expect(await connectionsOfService(shops.likeMedusas)).toBeGreaterThan(0);
    expect(await connectionsOfService(shops.medusa)).toBe(0);
  });

  test("a cart becomes an order, once", async () => {
    const seen = await expectSame(shops, async (shop) => {
      const { url } = shop;
      const { body } = await createReadyCart(url, { variantId });
      const answers = await askThreeTimes(shop, (options) =>
        completeCart(url, body.cart.id, options),
      );
      return [...answers, await completeCart(url, body.cart.id)];
    });
    expect(statuses(seen)).toEqual([200, 200, 200, 200]);
    expect(seen.gained).toMatchObject({ order: 1, payment: 1 });
    expect(seen.keys.at(-1)).toMatchObject({ recovery_point: "finished", response_code: 200 });
  });

  test("a key goes on from where its request had stopped", async () => {
    const seen = await expectSame(shops, async ({ url, pool }) => {
      const { body } = await createReadyCart(url, { variantId });
      const answers = [];
      for (const recoveryPoint of ["tax_lines_created", "payment_authorized", "nowhere"]) {
        const created = await request(url, "POST", "/store/custom", {});
        const idempotencyKey = created.body.idempotency_key.idempotency_key;
        // As if the completion itself had made it.
        await pool.query(
          `UPDATE idempotency_key SET recovery_point = $1, request_path = NULL, request_params = NULL
           WHERE idempotency_key = $2`,
          [recoveryPoint, idempotencyKey],
        );
        answers.push(await completeCart(url, body.cart.id, { idempotencyKey }));
      }
      return answers;
    });
    expect(statuses(seen)).toEqual([200, 200, 500]);
    expect(seen.gained).toMatchObject({ order: 1, payment: 1 });
  });

  test("a completion that is refused, and one of no cart", async () => {
    const seen = await expectSame(shops, async ({ url }) => {
      const { body } = await createCart(url, { variantId });
      const refused = await completeCart(url, body.cart.id);
      const again = await completeCart(url, body.cart.id, { idempotencyKey: keyOf(refused) });
      const nowhere = await completeCart(url, "cart_nowhere");
      const retry = await completeCart(url, "cart_nowhere", { idempotencyKey: keyOf(nowhere) });
      return [refused, again, nowhere, retry];
    });
    expect(Math.min(...statuses(seen))).toBeGreaterThanOrEqual(400);
    expect(seen.gained).not.toHaveProperty("order");
  });

  test("a cart that asks for more than there is", async () => {
    const seen = await expectSame(shops, async ({ url, pool }) => {
      const { body } = await createReadyCart(url, { variantId, quantity: 3 });
      const stock = (quantity) =>
        pool.query("UPDATE product_variant SET inventory_quantity = $1 WHERE id = $2", [
          quantity,
          variantId,
        ]);
      await stock(1);
      const refused = await completeCart(url, body.cart.id);
      const again = await completeCart(url, body.cart.id, { idempotencyKey: keyOf(refused) });
      await stock(1_000_000);
      return [refused, again, await completeCart(url, body.cart.id)];
    });
    expect(statuses(seen)).toEqual([409, 409, 200]);
    // The refused one's payment is kept too, canceled.
    expect(seen.gained).toMatchObject({ order: 1, payment: 2 });
  });

  test("line items", async () => {
    const seen = await expectSame(shops, async (shop) => {
      const { url } = shop;
      const { body } = await createCart(url, { variantId });
      const add = (options) => addLineItem(url, body.cart.id, { variantId, ...options });
      const answers = await askThreeTimes(shop, add);
      const nothing = { variantId: "variant_nowhere" };
      const refused = await add(nothing);
      const again = await add({ ...nothing, idempotencyKey: keyOf(refused) });
      const nowhere = await addLineItem(url, "cart_nowhere", { variantId });
      return [...answers, refused, again, nowhere];
    });
    expect(statuses(seen).slice(0, 3)).toEqual([200, 200, 200]);
    expect(seen.answers[2].body.cart.items[0].quantity).toBe(3);
  });

  test("payment sessions and taxes", async () => {
    const seen = await expectSame(shops, async (shop) => {
      const { url } = shop;
      const { body } = await createReadyCart(url, { variantId });
      const { id } = body.cart;
      const sessions = await askThreeTimes(shop, (options) =>
        createPaymentSessions(url, id, options),
      );
      const taxes = await askThreeTimes(shop, (options) => calculateTaxes(url, id, options));
      const nowhere = await createPaymentSessions(url, "cart_nowhere");
      return [...sessions, ...taxes, nowhere, await calculateTaxes(url, "cart_nowhere")];
    });
    expect(statuses(seen)).toEqual([200, 200, 200, 200, 200, 200, 500, 500]);
  });

  test("a customer's return", async () => {
    const seen = await expectSame(shops, async (shop) => {
      const { url } = shop;
      const { body } = await placeOrder(url, { variantId, quantity: 3 });
      return askThreeTimes(shop, (options) => createReturn(url, body.data, options));
    });
    expect(statuses(seen)).toEqual([200, 200, 200]);
    expect(seen.gained).toMatchObject({ order: 1, return: 2 });
  });

  test("returns that are refused", async () => {
    const seen = await expectSame(shops, async ({ url }) => {
      const { body } = await placeOrder(url, { variantId });
      const missing = { ...body.data, items: [{ id: "item_nowhere" }] };
      const refused = await createReturn(url, missing);
      const again = await createReturn(url, missing, { idempotencyKey: keyOf(refused) });
      const nowhere = await createReturn(url, { ...body.data, id: "order_nowhere" });
      return [refused, again, nowhere];
    });
    expect(Math.min(...statuses(seen))).toBeGreaterThanOrEqual(400);
    expect(seen.gained).not.toHaveProperty("return");
  });

  test("the key of another request: Medusa's answers for it, ours does not", async () => {
    const { medusa, ours } = await expectOtherThanMedusa(shops, async ({ url }) => {
      const { body } = await createCart(url, { variantId });
      const added = await addLineItem(url, body.cart.id, { variantId });
      const idempotencyKey = keyOf(added);
      const other = { variantId: otherVariantId, idempotencyKey };
      return [
        added,
        await addLineItem(url, body.cart.id, other),
        await createPaymentSessions(url, body.cart.id, { idempotencyKey }),
      ];
    });
    expect(statuses(medusa)).toEqual([200, 200, 200]);
    expect(statuses(ours)).toEqual([200, 409, 409]);
  });

  test("a customer's swap", async () => {
    const seen = await expectSame(shops, async (shop) => {
      const { url, token } = shop;
      const options = { variantId, quantity: 3 };
      const { body } = await placeShippedOrder(url, token, options);
      const answers = await askThreeTimes(shop, (more) =>
        createSwap(url, body.order, { variantId: otherVariantId, ...more }),
      );
      // Not completed: Medusa waits for itself there, at the stock of the variant.
      return [...answers, await createPaymentSessions(url, answers[0].body.swap.cart_id)];
    });
    expect(statuses(seen)).toEqual([200, 200, 200, 200]);
    expect(seen.gained).toMatchObject({ order: 1, swap: 2, return: 2 });
  });

  test("the admin's return, swap and claim", async () => {
    const seen = await expectSame(shops, async (shop) => {
      const { url, token } = shop;
      const { body } = await placeShippedOrder(url, token, { variantId, quantity: 10 });
      const { order } = body;
      const swap = { variantId: otherVariantId, token };
      return [
        ...(await askThreeTimes(shop, (more) => requestReturn(url, order, { token, ...more }))),
        ...(await askThreeTimes(shop, (more) => requestSwap(url, order, { ...swap, ...more }))),
        ...(await askThreeTimes(shop, (more) => createClaim(url, order, { token, ...more }))),
      ];
    });
    expect(statuses(seen)).toEqual(Array(9).fill(200));
    expect(seen.gained).toMatchObject({ order: 1, return: 4, swap: 2, claim_order: 2 });
  });

  test("the admin's requests for an order that is nowhere", async () => {
    const seen = await expectSame(shops, async ({ url, token }) => {
      const order = { id: "order_nowhere", items: [{ id: "item_nowhere" }] };
      const answers = [];
      for (const ask of [requestReturn, requestSwap, createClaim]) {
        const refused = await ask(url, order, { variantId, token });
        const idempotencyKey = keyOf(refused);
        answers.push(refused, await ask(url, order, { variantId, token, idempotencyKey }));
      }
      return answers;
    });
    expect(Math.min(...statuses(seen))).toBeGreaterThanOrEqual(400);
    expect(Object.keys(seen.gained)).toEqual(["idempotency_key"]);
  });

  describe("asked by @medusajs/medusa-js, which repeats what was not answered", () => {
    /** What the client was told in the end, and what the shop had answered each time. */
    async function repeated({ url }, { losses, maxRetries = losses }, ask) {
      const { default: Medusa } = createRequire(path.join(EXAMPLE, "package.json"))(
        "@medusajs/medusa-js",
      );
      const proxy = await startLossyProxy(url, { losses });
      try {
        const client = new Medusa({ baseUrl: proxy.url, maxRetries });
        const told = await ask(client).catch((error) => ({ failed: error.code }));
        delete told.response;
        const answer = { status: 0, headers: {}, body: { told, requests: proxy.requests } };
        return [answer, ...proxy.answers];
      } finally {
        await proxy.stop();
      }
    }

    test("a completion: one order", async () => {
      const { medusa, ours } = await expectOtherThanMedusa(shops, async (shop) => {
        const { body } = await createReadyCart(shop.url, { variantId });
        return repeated(shop, { losses: 2 }, (client) => client.carts.complete(body.cart.id));
      });
      for (const { answers, gained } of [medusa, ours]) {
        const [{ body }, ...each] = answers;
        expect(each.map(({ status }) => status)).toEqual([200, 200, 200]);
        expect(new Set(body.requests.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1);
        expect(body.told).toEqual(each[2].body);
        expect(gained).toMatchObject({ order: 1, payment: 1 });
      }
      // One of the keys is that of the payment sessions.
      expect(medusa.gained).toMatchObject({ idempotency_key: 1 + 3 });
      expect(ours.gained).toMatchObject({ idempotency_key: 1 + 1 });
    });

    test("a return: one, where Medusa makes one each time", async () => {
      const { medusa, ours } = await expectOtherThanMedusa(shops, async (shop) => {
        const { body } = await placeOrder(shop.url, { variantId, quantity: 3 });
        const [item] = body.data.items;
        const payload = { order_id: body.data.id, items: [{ item_id: item.id, quantity: 1 }] };
        return repeated(shop, { losses: 1 }, (client) => client.returns.create(payload));
      });
      expect(medusa.gained).toMatchObject({ order: 1, return: 2 });
      expect(ours.gained).toMatchObject({ order: 1, return: 1 });
      expect(ours.answers[1].body).toEqual(ours.answers[2].body);
    });

    test("a line item, until it gives up: added once", async () => {
      const { medusa, ours } = await expectOtherThanMedusa(shops, async (shop) => {
        const { body } = await createCart(shop.url, { variantId });
        const item = { variant_id: variantId, quantity: 1 };
        return repeated(shop, { losses: 9, maxRetries: 2 }, (client) =>
          client.carts.lineItems.create(body.cart.id, item),
        );
      });
      const quantities = ({ answers: [, ...each] }) =>
        each.map(({ body }) => body.cart.items[0].quantity);
      expect(ours.answers[0].body.told).toEqual({ failed: "ECONNRESET" });
      expect(quantities(medusa)).toEqual([2, 3, 4]);
      expect(quantities(ours)).toEqual([2, 2, 2]);
    });
  });
});

describe("a project that extends the service and overrides the cart completion", () => {
  const shops = useShops({ project: true });

  const metadataOf = async ({ pool }, cartId) => {
    const { rows } = await pool.query("SELECT metadata FROM cart WHERE id = $1", [cartId]);
    return rows[0].metadata;
  };

  test("a cart becomes an order, once", async () => {
    const seen = await expectSame(shops, async (shop) => {
      const { body } = await createReadyCart(shop.url, { variantId });
      const complete = (options) => completeCart(shop.url, body.cart.id, options);
      const answers = await askThreeTimes(shop, complete);
      const metadata = await metadataOf(shop, body.cart.id);
      return [...answers, { status: 0, headers: {}, body: metadata }];
    });
    const [first, , unknown, metadata] = seen.answers;
    expect(first).toMatchObject({ status: 200, body: { type: "order", reviewed: true } });
    expect(seen.gained).toMatchObject({ order: 1, payment: 1 });
    expect([first, unknown].map(keyOf)).toContain(metadata.body.completed_with);
  });

  test("what the project's stage refuses is undone, and may be asked for again", async () => {
    const seen = await expectSame(shops, async (shop) => {
      const { body } = await createReadyCart(shop.url, { variantId, quantity: 500 });
      const refused = await completeCart(shop.url, body.cart.id);
      const idempotencyKey = keyOf(refused);
      const again = await completeCart(shop.url, body.cart.id, { idempotencyKey });
      const metadata = await metadataOf(shop, body.cart.id);
      const item = `/store/carts/${body.cart.id}/line-items/${body.cart.items[0].id}`;
      await request(shop.url, "POST", item, { quantity: 1 });
      await createPaymentSessions(shop.url, body.cart.id);
      const smaller = await completeCart(shop.url, body.cart.id, { idempotencyKey });
      return [refused, again, { status: 0, headers: {}, body: metadata }, smaller];
    });
    expect(statuses(seen)).toEqual([400, 400, 0, 200]);
    expect(seen.answers[2].body).toBeNull();
    expect(seen.gained).toMatchObject({ order: 1 });
  });

  test("its own create() makes the keys of its routes", async () => {
    const seen = await expectSame(shops, ({ url }) =>
      Promise.all([request(url, "POST", "/store/custom", {})]),
    );
    expect(await connectionsOfService(shops.ours)).toBeGreaterThan(0);
    expect(await connectionsOfService(shops.medusa)).toBe(0);
    expect(seen.keys[0].idempotency_key).toMatch(/^shop-/);
  });

  test("initializeRequest() makes its key itself, past an overridden create(), unlike Medusa's", async () => {
    const keyOf = async ({ url }) => {
      const { body } = await request(url, "POST", "/store/custom-initialize", {});
      return body.idempotency_key.idempotency_key;
    };
    expect(await keyOf(shops.medusa)).toMatch(/^shop-/);
    expect(await keyOf(shops.likeMedusas)).toMatch(/^[0-9a-f-]{36}$/);
    expect(await keyOf(shops.ours)).toMatch(/^[0-9a-f-]{36}$/);
  });
});
