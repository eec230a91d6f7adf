"use strict";

// Medusa v1 backends that are killed while they complete carts.

const { setTimeout: sleep } = require("node:timers/promises");
const { Pool } = require("pg");
const { startBackendProcess } = require("../../../examples/medusa-v1/backend");
const { repeatWhileInConflict } = require("../../../examples/medusa-v1/demo/repeat");
const { leftBy } = require("../../../examples/medusa-v1/demo/rush");
const { completeCart, createReadyCart } = require("../../../examples/medusa-v1/shop");
const { createShopDatabase } = require("../../../examples/medusa-v1/shop-database");
const { eventually, hold, withServer } = require("../support");

const KILLS = 200;
const BACKENDS = 2;
/** What a backend is asked to complete, at the least, by so many callers each; the other one is asked for it, too. */
const CARTS = 4;
const CALLERS = 2;
const LEASE = 2_000;
/** Milliseconds within which carts are completed, also on a busy machine. */
const PATIENCE = 60_000;
/** Milliseconds until a kill, at most, from the answers that it waits for. */
const LONGEST_DELAY = 500;

const name = "killed-medusa";
const title = `Medusa backends that are killed ${KILLS} times (in full only: a shop takes 12 s to make)`;
const fullOnly = true;

/**
 * @param {object} options
 * @param {boolean} options.broken Medusa has its own service, and four kills are enough
 */
function run({ broken, log }) {
  // Not before it is needed: it installs Medusa where it is missing.
  require("../../../__test__/helpers/medusa-installed");
  return withServer({ settings: { max_connections: 200 } }, async ({ url }) => {
    const databaseUrl = await createShopDatabase(url);
    const kills = broken ? 4 : KILLS;
    const completions = new Completions(databaseUrl, { service: broken ? "medusa" : "ours", log });
    await completions.killTimes(kills);
    await completions.answerAll();
    const pool = new Pool({ connectionString: databaseUrl, max: 1 });
    // A connection that is still being closed may see the server's end.
    pool.on("error", () => {});
    try {
      for (const cart of completions.carts) {
        await holdOneOrder(pool, cart);
      }
    } finally {
      await pool.end();
    }
    const { carts, hit } = completions;
    return { kills, "completions that a kill interrupted": hit, carts: carts.length };
  });
}

/** Completions of carts in backends that are killed. */
class Completions {
  /** Each with what it was answered. */
  carts = [];
  hit = 0;
  #left = 0;
  #log;
  #backend;

  constructor(databaseUrl, { service, log }) {
    const options = JSON.stringify({ leaseTimeout: LEASE });
    this.#backend = { databaseUrl, service, env: { LOG: "error", IDEMPOTENCY_OPTIONS: options } };
    this.#log = log;
  }

  /** Kills backends, two of which run beside each other, so many times altogether. */
  async killTimes(kills) {
    this.#left = kills;
    const lane = async () => {
      while (this.#left > 0) {
        this.#left -= 1;
        await this.#live();
        if (this.#left % 10 === 0) {
          this.#log(`${this.#left} kills left, ${this.carts.length} carts`);
        }
      }
    };
    const lanes = Array.from({ length: BACKENDS }, () =>
      lane().finally(() => {
        // Where one fails, the other does not go on alone.
        this.#left = 0;
      }),
    );
    await Promise.all(lanes);
  }

  /** A backend's life, which ends in the middle of completions. */
  async #live() {
    await this.#withBackend(async (backend) => {
      await this.#fill(backend);
      // Those that are interrupted reject: they are asked for again.
      const carts = this.#unanswered();
      const asked = Promise.allSettled(carts.map((cart) => this.#complete(backend, cart)));
      // A backend that has just been started is slow: without this hardly any cart would be completed.
      const goal = Math.floor(Math.random() * carts.length);
      const isReached = () => carts.filter(isUnanswered).length <= carts.length - goal;
      await eventually(isReached, "carts are not completed", PATIENCE);
      await sleep(Math.random() * LONGEST_DELAY);
      this.hit += carts.filter(isUnanswered).length;
      await backend.kill();
      await asked;
    });
  }

  async #withBackend(work) {
    const backend = await startBackendProcess(this.#backend);
    try {
      await work(backend);
    } finally {
      await backend.kill();
    }
  }

  #unanswered() {
    return this.carts.filter(isUnanswered);
  }

  async #fill({ url }) {
    const missing = CARTS - this.#unanswered().length;
    const made = Array.from({ length: Math.max(missing, 0) }, async () => {
      const { body } = await createReadyCart(url);
      this.carts.push({ id: body.cart.id, answers: [] });
    });
    await Promise.all(made);
  }

  /** Several callers ask for a cart's completion until they are answered. */
  async #complete({ url }, { id, answers }) {
    const ask = () => completeCart(url, id, { idempotencyKey: `key-of-${id}` });
    const caller = async () => answers.push(await repeatWhileInConflict(await ask(), ask));
    await Promise.all(Array.from({ length: CALLERS }, caller));
  }

  /** In a backend that lives, each is answered, those that have been answered before as well. */
  answerAll() {
    return this.#withBackend(async (backend) => {
      for (const cart of this.carts) {
        await this.#complete(backend, cart);
      }
    });
  }
}

function isUnanswered({ answers }) {
  return answers.length === 0;
}

/** A cart has one order, one payment and all its taxes, and each of its answers is that order. */
async function holdOneOrder(pool, { id, answers }) {
  const { orders, payments, taxable, taxed } = await leftBy(pool, id);
  hold(
    orders.length === 1 && payments === 1 && taxable === 2 && taxed === 2,
    `a cart has ${orders.length} orders, ${payments} payments, and ${taxed} of ${taxable} taxes`,
  );
  for (const { status, body } of answers) {
    const answered = `${status} ${JSON.stringify(body).slice(0, 200)}`;
    hold(status === 200 && body.data?.id === orders[0], `a completion was answered ${answered}`);
  }
}

module.exports = { fullOnly, name, run, title };
