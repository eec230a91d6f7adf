"use strict";

// The rows that the benchmark works on.

/** Of a size that keeps callers apart: 64 at once hardly ever meet in one row. */
const KNOWN_KEYS = 10_000;

const REQUEST = {
  request_method: "POST",
  request_params: { id: "cart_01J8ZQK4T6W8Y0A2C4E6G8J0M2" },
  request_path: "/store/carts/cart_01J8ZQK4T6W8Y0A2C4E6G8J0M2/complete",
};

const RECOVERY_POINT = "payment_authorized";

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
  #known = 0;
  #fresh = 0;
  #stocked = 0;

  /** @param {import("pg").Client} client */
  constructor(client) {
    this.#client = client;
  }

  /** Stores the keys that {@link known} hands out. */
  async seed() {
    const { request_method, request_params, request_path } = REQUEST;
    await this.#client.query(
      `INSERT INTO idempotency_key
         (id, idempotency_key, request_method, request_params, request_path, response_code,
          response_body)
       SELECT 'ikey_known_' || n, 'known-' || n, $2, $3, $4, 200, $5
       FROM generate_series(1, $1) AS n`,
      [
        KNOWN_KEYS,
        request_method,
        JSON.stringify(request_params),
        request_path,
        JSON.stringify(ANSWER),
      ],
    );
    await this.#client.query("VACUUM ANALYZE idempotency_key");
  }

  /** A stored key, each in its turn. */
  known() {
    this.#known = (this.#known % KNOWN_KEYS) + 1;
    return `known-${this.#known}`;
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

module.exports = { KNOWN_KEYS, REQUEST, RECOVERY_POINT, Keys };
