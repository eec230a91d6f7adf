"use strict";

// What has to hold of a call, whatever it was given: it settles, and what it rejects with is an error that a caller
// can tell from others and may show.

const { setTimeout: sleep } = require("node:timers/promises");
const fc = require("fast-check");
const { isIdempotencyError } = require("../..");
const { Boxed, SECRET, Trap } = require("./hostile-values");
const { oneAtATime } = require("./one-at-a-time");

const RUNS = process.env.HOSTILE_RUNS && Number(process.env.HOSTILE_RUNS);
/** The same values each time, unless more were asked for; fast-check prints the seed of a failure. */
const SEED = Number(process.env.FC_SEED ?? (RUNS ? Date.now() % 2 ** 31 : 1));
/** A call that takes longer hangs: no timeout of the services in these tests is so long. */
const PATIENCE = 60_000;

/** Text that only this package's inside knows. */
const INTERNAL =
  /panick|unwrap|\.rs\b|serde|sqlx|napi|tokio|at line \d+ column|is not a function|is not iterable|Cannot read prop|of undefined|of null/i;

/** What JavaScript itself says: of what JSON.stringify refuses, of a revoked Proxy, of a class that is called. */
const LANGUAGE =
  /Class constructor|circular structure|serialize a BigInt|proxy that has been revoked|Cannot convert object to primitive|'getPrototypeOf' on proxy/;

/** What the server says of an id, a key, a time or a code; a request has none of them as its contents. */
const QUOTING = /^duplicate key|for type (integer|timestamp)/;

/** Checks a property with as many values as the run has time for. */
async function check(arbitraries, property, numRuns) {
  const opened = oneAtATime((...given) =>
    property(...given.map((value) => (value instanceof Boxed ? value.open() : value))),
  );
  await fc.assert(fc.asyncProperty(...arbitraries, opened), {
    numRuns: RUNS ?? numRuns,
    seed: SEED,
    interruptAfterTimeLimit: RUNS ? RUNS * 1_000 : 15_000,
    markInterruptAsFailure: false,
  });
  await opened.ended();
}

/**
 * Makes a call, and checks how it ends.
 *
 * @param {() => unknown} call
 * @param {{ thrown?: unknown[], mayShow?: boolean }} [options] what the caller's own functions throw, which a call may
 *   reject with; and whether the message may repeat what was given
 * @returns {Promise<{ value?: unknown, error?: unknown }>}
 */
async function settled(call, { thrown = [], mayShow = false } = {}) {
  const patience = new AbortController();
  const hanging = sleep(PATIENCE, undefined, { signal: patience.signal }).then(
    () => {
      throw new Error("the call hangs");
    },
    () => {},
  );
  const settling = (async () => ({ value: await call() }))().catch((error) => ({ error }));
  const end = await Promise.race([settling, hanging]);
  patience.abort();
  if ("error" in end && !thrown.some((value) => Object.is(value, end.error))) {
    judge(end.error, mayShow);
  }
  return end;
}

/** Fails unless an error is one that callers may get. */
function judge(error, mayShow) {
  if (error instanceof Trap) {
    return;
  }
  if (!(error instanceof Error)) {
    throw new Error("the call rejects with what is no Error", { cause: error });
  }
  const wrong = (what) => {
    throw new Error(`${what}: ${error.message}`, { cause: error });
  };
  if (LANGUAGE.test(error.message)) {
    return;
  }
  const isTold = typeof error.type === "string" || typeof error.code === "string";
  const isPlain = error.message.startsWith("Multiple keys were found");
  if (!isIdempotencyError(error) || (!isTold && !isPlain)) {
    wrong("the call rejects with what callers cannot tell");
  }
  if (INTERNAL.test(error.message)) {
    wrong("the message is internal");
  }
  const texts = [error.message, error.detail, error.hint];
  if (!mayShow && !QUOTING.test(error.message) && texts.some((text) => text?.includes(SECRET))) {
    wrong("the message has what the request has");
  }
}

module.exports = { check, settled };
