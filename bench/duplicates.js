"use strict";

// How soon a duplicate is refused of a request whose first stage has not committed.

const { fork } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const { performance } = require("node:perf_hooks");
const { IdempotencyKeyService } = require("..");
const { judged } = require("./results");

const DUPLICATES = 200;
/** In milliseconds. */
const AT_MOST = 50;
const IN_USE = "idempotency_key_in_use";

/** @param {string} url of a database with a table of keys */
async function duplicateChecks(url) {
  const first = new IdempotencyKeyService({}, { databaseUrl: url });
  const key = randomUUID();
  let end;
  let begun;
  const running = new Promise((resolve) => (begun = resolve));
  const held = new Promise((resolve) => (end = resolve));
  try {
    const request = first.runStages(
      { key },
      {
        async started(manager) {
          await manager.query("SELECT 1");
          begun();
          await held;
          return { response_code: 200 };
        },
      },
    );
    await Promise.race([running, request]);
    const slowest = await slowestOfAnotherProcess(url, key);
    end();
    await request;
    const name = `a duplicate is refused while the first stage runs: the slowest of ${DUPLICATES}`;
    return [{ name, unit: "ms", ...judged(slowest, { atMost: AT_MOST }) }];
  } finally {
    end();
    await first.close();
  }
}

/** A process knows without the database what it is about to begin itself. */
async function slowestOfAnotherProcess(url, key) {
  const child = fork(__filename, [url, key]);
  const answered = once(child, "message").then(([slowest]) => slowest);
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`the process of the duplicates ended with ${code}`);
  });
  return Promise.race([answered, ended]);
}

async function slowestRefusal(service, key) {
  let slowest = 0;
  for (let number = 0; number <= DUPLICATES; number += 1) {
    const start = performance.now();
    const error = await service.runStages({ key }, { started: () => ({}) }).catch((it) => it);
    if (error?.code !== IN_USE) {
      throw new Error("a duplicate was not refused", { cause: error });
    }
    // The first one connects.
    slowest = number === 0 ? 0 : Math.max(slowest, performance.now() - start);
  }
  return slowest;
}

async function main([url, key]) {
  const service = new IdempotencyKeyService({}, { databaseUrl: url });
  process.send(await slowestRefusal(service, key));
  await service.close();
  process.disconnect();
}

if (require.main === module) {
  void main(process.argv.slice(2));
}

module.exports = { duplicateChecks };
