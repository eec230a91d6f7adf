"use strict";

const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const { CASES } = require("./cases");
const { check } = require("./check");

/** Milliseconds between two tries of a request that is in progress, and for how long it is tried. */
const PAUSE = 50;
const PATIENCE = 30_000;

/** The values of the header, or none, by what `as` of a step says. */
const KEYS = {
  plain: (key) => [key],
  quoted: (key) => [`"${key}"`],
  longest: (key) => [key.padEnd(255, "x")],
  "too long": (key) => [key.padEnd(256, "x")],
  twice: (key) => [key, randomUUID()],
  none: () => [],
};

/**
 * Checks a route, or several, against the cases.
 *
 * @param {object} target see index.d.ts
 * @returns {Promise<{ passed: number, failed: number, skipped: number, results: object[] }>}
 */
async function conformance(target) {
  const results = [];
  for (const one of CASES) {
    results.push(await resultOf(one, target));
  }
  const count = (outcome) => results.filter((result) => result.outcome === outcome).length;
  return {
    passed: count("passed"),
    failed: count("failed"),
    skipped: count("skipped"),
    results,
  };
}

async function resultOf({ steps, expect, needs = [], ...described }, target) {
  const missing = needs.filter((need) => !target[need]);
  if (missing.length > 0) {
    return { ...described, outcome: "skipped", reason: `the target has no ${missing.join(", ")}` };
  }
  try {
    const run = new Run(target);
    await run.do(steps);
    const effects = await run.effects();
    expect.forEach((expectation) => check(expectation, run.answers, effects));
    return { ...described, outcome: "passed" };
  } catch (error) {
    return { ...described, outcome: "failed", reason: error.message };
  }
}

/** One case, with a key of its own. */
class Run {
  answers = new Map();
  #target;
  #key = randomUUID();
  #before;

  constructor(target) {
    this.#target = target;
  }

  async do(steps) {
    this.#before = await this.#target.effects?.();
    for (const step of steps) {
      await this.#step(step);
    }
  }

  /** How often the work was done since the beginning, if the target can tell. */
  async effects() {
    const after = await this.#target.effects?.();
    return after === undefined ? undefined : after - this.#before;
  }

  async #step(step) {
    if (step.together) {
      const { together, bodies = [], ...others } = step;
      const sent = together.map((name, index) =>
        this.#send(name, { ...others, body: bodies[index] }),
      );
      await Promise.all(sent);
    } else if (step.hangUp) {
      await this.#hangUp(step);
    } else if (step.until) {
      await this.#sendUntilDone(step);
    } else {
      await this.#send(step.send, step);
    }
  }

  async #send(name, step, signal) {
    const { url, init } = this.#requestOf(step);
    const response = await fetch(url, { ...init, signal }).catch((error) => {
      throw new Error(`${url} cannot be asked: ${error.cause?.message ?? error.message}`);
    });
    const { status } = response;
    // As bytes: they are to be the same, whatever they mean.
    const text = Buffer.from(await response.arrayBuffer()).toString("latin1");
    this.answers.set(name, { name, status, headers: Object.fromEntries(response.headers), text });
    return status;
  }

  async #sendUntilDone(step) {
    for (const deadline = Date.now() + PATIENCE; ; await sleep(PAUSE)) {
      const status = await this.#send(step.send, step);
      if (status !== 409 || Date.now() > deadline) {
        return;
      }
    }
  }

  /** Hangs up once the work has begun. */
  async #hangUp(step) {
    const client = new AbortController();
    const sent = this.#send(step.hangUp, step, client.signal).catch(() => {});
    for (const deadline = Date.now() + PATIENCE; (await this.effects()) === 0; await sleep(PAUSE)) {
      if (Date.now() > deadline) {
        throw new Error("the work has not begun");
      }
    }
    client.abort();
    await sent;
  }

  #requestOf({ to = "url", as = "plain", body = "body", scope = 0 }) {
    const { method = "POST", header = "Idempotency-Key", ...target } = this.#target;
    const headers = new Headers({ "Content-Type": "application/json", ...target.headers });
    Object.entries(target.scopes?.[scope] ?? {}).forEach(([name, value]) =>
      headers.set(name, value),
    );
    KEYS[as](this.#key).forEach((key) => headers.append(header, key));
    const value = body === "other" ? target.otherBody : target.body;
    const text = JSON.stringify(value ?? { conformance: body });
    return {
      url: new URL(target[to], target.url),
      init: { method, headers, body: text, redirect: "manual" },
    };
  }
}

module.exports = { cases: CASES, conformance };
