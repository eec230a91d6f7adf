"use strict";

// Backend processes that are killed in the middle of requests, while others work on the same ones.

const { fork } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { IdempotencyKeyService } = require("../../..");
const { eventually, hold, query, untilIdle, withServer } = require("../support");

const BACKEND = path.join(__dirname, "../../../__test__/fixtures/checkout.js");
const PROCESSES = 3;
/** Requests in progress at once; each process is asked for each of them. */
const REQUESTS = 24;
const LEASE = 300;
/** Milliseconds from a process's first answer to its end, at most. */
const LONGEST_LIFE = 150;
const MOST_KILLS_MORE = 50;
/** The points at which each request leaves an effect. */
const POINTS = "paid reserved started";

const name = "killed-processes";
const title = "Processes that are killed in the middle of requests";

/**
 * @param {object} options
 * @param {boolean} options.full 200 kills in place of five
 * @param {boolean} options.broken the work is done without idempotency keys
 */
function run({ full, broken }) {
  const kills = full && !broken ? 200 : 5;
  return withServer({}, async ({ url }) => {
    const keys = new IdempotencyKeyService({}, { databaseUrl: url });
    await keys.migrate();
    await keys.close();
    await query(url, "CREATE TABLE effect (key text, point text)");
    const traffic = new Traffic(url, broken ? ["unprotected"] : ["runStages", "workStage"]);
    try {
      await traffic.start();
      const hit = await killInTurn(traffic, kills);
      if (!broken) {
        await killUntilInterrupted(traffic);
      }
      await traffic.drain();
      await holdOneOutcome(url, traffic.answers);
      await untilIdle(url);
      return {
        kills,
        "requests in progress in killed processes": hit,
        "requests that another process went on with": traffic.interrupted,
        acknowledged: traffic.answers.size,
        answers: [...traffic.answers.values()].flat().length,
      };
    } finally {
      traffic.kill();
    }
  });
}

/** Kills one process after the other at random moments, and tells how many requests were in progress in them. */
async function killInTurn(traffic, kills) {
  let hit = 0;
  for (let kill = 0; kill < kills; kill += 1) {
    const slot = traffic.slots[kill % PROCESSES];
    await eventually(() => slot.answered > 0, "a process that was started answers nothing");
    await sleep(Math.random() * LONGEST_LIFE);
    hit += slot.asked.size;
    await traffic.replace(slot);
  }
  return hit;
}

/** Few kills may all have met processes that were waiting for others. */
async function killUntilInterrupted(traffic) {
  for (let more = 0; traffic.interrupted === 0; more += 1) {
    if (more === MOST_KILLS_MORE) {
      throw new Error("no kill interrupted a request");
    }
    await killInTurn(traffic, 1);
  }
}

/** Asks several processes for the same requests, and for new ones as soon as all have answered one. */
class Traffic {
  /** Everything that was answered, by the request's key. */
  answers = new Map();
  /** Answers of processes that went on with a request that another one was interrupted in. */
  interrupted = 0;
  slots = Array.from({ length: PROCESSES }, (_, number) => ({ number, asked: new Set() }));
  /** The number of each request, and whose answers it waits for. */
  #waiting = new Map();
  #isOver = false;
  #url;
  #flows;

  constructor(url, flows) {
    this.#url = url;
    this.#flows = flows;
  }

  async start() {
    await Promise.all(this.slots.map((slot) => this.#startBackend(slot)));
    Array.from({ length: REQUESTS }, () => this.#begin());
  }

  async #startBackend(slot) {
    const backend = fork(BACKEND, [this.#url, String(LEASE)]);
    Object.assign(slot, { backend, answered: 0 });
    await once(backend, "message");
    backend.on("message", (message) => message.flow && this.#answer(slot, message));
  }

  #begin() {
    const number = this.answers.size;
    const key = `request-${number}`;
    this.answers.set(key, []);
    this.#waiting.set(key, { number, slots: new Set(this.slots) });
    this.slots.forEach((slot) => this.#ask(slot, key));
  }

  #ask(slot, key) {
    slot.asked.add(key);
    const flow = this.#flows[(slot.number + this.#waiting.get(key).number) % this.#flows.length];
    // What is sent to a process that is being killed is lost.
    slot.backend.send({ key, flow }, () => {});
  }

  #answer(slot, { key, response_body: body, began }) {
    slot.answered += 1;
    this.answers.get(key).push(body);
    this.interrupted += began === "interrupted" ? 1 : 0;
    // A process that was killed after its answer was sent: its successor answers again.
    if (!slot.asked.delete(key)) {
      return;
    }
    const { slots } = this.#waiting.get(key);
    slots.delete(slot);
    if (slots.size === 0) {
      this.#waiting.delete(key);
      if (!this.#isOver) {
        this.#begin();
      }
    }
  }

  /** Kills a slot's process and starts another one, which is asked for what the killed one has not answered. */
  async replace(slot) {
    slot.backend.kill("SIGKILL");
    await once(slot.backend, "exit");
    await this.#startBackend(slot);
    slot.asked.forEach((key) => this.#ask(slot, key));
  }

  /** Begins no more requests, and waits until each is answered by all. */
  drain() {
    this.#isOver = true;
    return eventually(() => this.#waiting.size === 0, "a request is not answered", 60_000);
  }

  kill() {
    this.slots.forEach(({ backend }) => backend?.kill("SIGKILL"));
  }
}

/** Each request has left each of its effects once, and all its answers are the one that is stored. */
async function holdOneOutcome(url, answers) {
  const sql = `SELECT key, string_agg(point, ' ' ORDER BY point) AS points FROM effect GROUP BY key`;
  const points = new Map((await query(url, sql)).map((row) => [row.key, row.points]));
  const wrong = [...answers.keys()].filter((key) => points.get(key) !== POINTS);
  hold(
    wrong.length === 0 && points.size === answers.size,
    `of ${answers.size} acknowledged requests ${wrong.length} have not left each effect once, ` +
      `as ${points.get(wrong[0])}`,
  );
  const keys = await query(url, "SELECT * FROM idempotency_key");
  hold(keys.length === answers.size, `${answers.size} requests have ${keys.length} keys`);
  for (const { idempotency_key: key, recovery_point: point, response_body: stored } of keys) {
    hold(point === "finished" && stored.order, `the answered ${key} is at ${point}`);
    const others = answers.get(key).filter((body) => body.order !== stored.order);
    hold(others.length === 0, `${key} was answered with ${others[0]?.order ?? others[0]}`);
  }
}

module.exports = { name, run, title };
