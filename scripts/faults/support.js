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

/** Waits until nobody has a transaction open on a server. */
function untilIdle(url) {
  const sql = `SELECT pid FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND backend_type = 'client backend' AND pid <> pg_backend_pid()`;
  return eventually(
    async () => (await query(url, sql)).length === 0,
    "a transaction has been left open",
    10_000,
  );
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

/** Does some work on each of many things, a few at once; after a failure on no further ones. */
async function eachOf(things, atOnce, work) {
  const waiting = [...things];
  const worker = async () => {
    while (waiting.length > 0) {
      await work(waiting.shift()).catch((error) => {
        waiting.length = 0;
        throw error;
      });
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: atOnce }, worker));
  const failed = ended.find(({ status }) => status === "rejected");
  if (failed) {
    throw failed.reason;
  }
}

/**
 * Runs the controls of a part, each of which has to be noticed.
 *
 * @param {(line: string) => void} log
 * @param {[what: string, control: () => Promise<unknown>][]} controls
 * @returns {Promise<never>} rejects with what the last one is noticed by
 */
async function noticeAll(log, controls) {
  let noticed;
  for (const [what, control] of controls) {
    noticed = await control().then(
      () => new Error(`${what} is not noticed`),
      (error) => error,
    );
    if (!(noticed instanceof PromiseBroken)) {
      throw noticed;
    }
    log(`Control, ${what}: ${noticed.message}`);
  }
  throw noticed;
}

module.exports = {
  PromiseBroken,
  eachOf,
  eventually,
  hold,
  noticeAll,
  query,
  rejection,
  untilIdle,
  withServer,
  within,
};
