"use strict";

// What the parts of the suite of faults share.

const { setTimeout: sleep } = require("node:timers/promises");
const { Client } = require("pg");
const { startPostgres } = require("../postgres");

/** A promise of the package does not hold. */
class PromiseBroken extends Error {}

/**
 * @param {unknown} condition
 * @param {string} otherwise what is wrong if it is not true
 */
function hold(condition, otherwise) {
  if (!condition) {
    throw new PromiseBroken(otherwise);
  }
}

/** Starts a server of one's own for as long as some work needs it; by default nothing of it survives a power failure. */
async function withServer(options, work) {
  const server = await startPostgres({
    ...options,
    settings: { fsync: "off", ...options.settings },
  });
  try {
    return await work(server);
  } finally {
    await server.stop();
  }
}

/** Asks a server something on a connection of its own. */
async function query(url, sql, parameters) {
  const client = new Client({ connectionString: url });
  client.on("error", () => {});
  try {
    await client.connect();
    return (await client.query(sql, parameters)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Looks again and again until there is something true to see, which is answered. */
async function eventually(look, otherwise, patience = 30_000) {
  for (const end = performance.now() + patience; ; await sleep(10)) {
    const seen = await look();
    if (seen) {
      return seen;
    }
    hold(performance.now() < end, otherwise);
  }
}

/** Waits for something, but not for longer than so many milliseconds. */
async function within(milliseconds, promise, otherwise) {
  const late = new AbortController();
  const tooLate = sleep(milliseconds, undefined, { signal: late.signal }).then(() =>
    hold(false, `${otherwise}: no answer for ${milliseconds} ms`),
  );
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    late.abort();
    tooLate.catch(() => {});
  }
}

/** What a call rejects with. */
async function rejection(call) {
  const result = await call.then(
    () => undefined,
    (error) => error,
  );
  hold(result, "a call resolved that had to be refused");
  return result;
}

/** Runs controls, each of which has to fail; fails with what they say. */
async function failAll(controls) {
  const failures = [];
  for (const [name, control] of Object.entries(controls)) {
    const failure = await control().then(
      () => new Error(`the control "${name}" passes`),
      (error) => error,
    );
    if (!(failure instanceof PromiseBroken)) {
      throw failure;
    }
    failures.push(failure.message);
  }
  throw new PromiseBroken(failures.join("; "));
}

module.exports = { PromiseBroken, eventually, failAll, hold, query, rejection, withServer, within };
