"use strict";

// The rows that the benchmark works on.

/** Of each kind, so many that callers are kept apart: 64 at once hardly ever meet in one row. */
const STORED_KEYS = 10_000;

const CART = "cart_01J8ZQK4T6W8Y0A2C4E6G8J0M2";
const PATH = `/store/carts/${CART}/complete`;

/** What a route gives of its request: written out, as it is there. V8 is slow to add to a copy. */
function newRequest() {
  return { request_method: "POST", request_params: { id: CART }, request_path: PATH };
}

const REQUEST = newRequest();

const ANSWER = {
  type: "order",
  data: {
    id: "order_01J8ZQM7V9X1Z3B5D7F9H1K3N5",
    status: "pending",
    email: "customer@example.com",
    currency_code: "eur",
    total: 12_900,
    items: [
      { id: "item_01J8ZQMA", variant_id: "variant_01J8ZQMB", quantity: 1, unit_price: 9_900 },
      { id: "item_01J8ZQMC", variant_id: "variant_01J8ZQMD", quantity: 2, unit_price: 1_500 },
    ],
  },
};

class Keys {
  #client;
  #open = 0;
  #finished = 0;
  #fresh = 0;
  #stocked = 0;

  /** @param {import("pg").Client} client */
  constructor(client) {
    this.#client = client;
  }

  /** Stores the keys that {@link open} and {@link finished} hand out. */
  async seed() {
    await this.#store("open", "started", null, null);
    await this.#store("finished", "finished", 200, JSON.stringify(ANSWER));
    await this.#client.query("VACUUM ANALYZE idempotency_key");
  }

  #store(kind, recoveryPoint, code, body) {
    const { request_method, request_params, request_path } = REQUEST;
    return this.#client.query(
      `INSERT INTO idempotency_key
         (id, idempotency_key, request_method, request_params, request_path, recovery_point,
          response_code, response_body)
       SELECT 'ikey_' || $2::text || '_' || n, $2::text || '-' || n, $3, $4, $5, $6, $7, $8
       FROM generate_series(1, $1) AS n`,
      [
        ...[STORED_KEYS, kind, request_method, JSON.stringify(request_params), request_path],
        ...[recoveryPoint, code, body],
      ],
    );
  }

  /** A stored key of a request that goes on, each in its turn. */
  open() {
    this.#open = (this.#open % STORED_KEYS) + 1;
    return `open-${this.#open}`;
  }

  /** A stored key of a request that has its answer, each in its turn. */
  finished() {
    this.#finished = (this.#finished % STORED_KEYS) + 1;
    return `finished-${this.#finished}`;
  }

  /** Stores keys until there are so many that {@link fresh} has not handed out. */
  async stock(count) {
    const last = this.#fresh + count;
    await this.#client.query(
      `INSERT INTO idempotency_key (id, idempotency_key)
       SELECT 'ikey_fresh_' || n, 'fresh-' || n FROM generate_series($1::int, $2::int) AS n`,
      [this.#stocked + 1, last],
    );
    this.#stocked = Math.max(this.#stocked, last);
  }

  /** A stored key that nobody has used; `undefined` when the stock is used up. */
  fresh() {
    if (this.#fresh === this.#stocked) {
      return undefined;
    }
    this.#fresh += 1;
    return `fresh-${this.#fresh}`;
  }
}

module.exports = { STORED_KEYS, REQUEST, ANSWER, Keys, newRequest };
