"use strict";

const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService } = require("../..");

const PATIENCE = 8_000;

const inUse = { type: "conflict", code: "idempotency_key_in_use" };
const leaseLost = { type: "conflict", code: "lease_lost" };
const reused = { type: "duplicate_error", code: "idempotency_key_reused" };

/** Begins the request that most tests are about. */
function begin(service, key = randomUUID()) {
  return service.initializeRequest(key, "POST", { id: "cart_1" }, "/complete");
}

/** A promise to be resolved from outside. */
function signal() {
  let send;
  const sent = new Promise((resolve) => (send = resolve));
  return { send, sent };
}

/** Looks again and again until there is something true to see, which is answered. */
async function eventually(look) {
  for (const deadline = Date.now() + PATIENCE; ; await sleep(10)) {
    const seen = await look();
    if (seen || Date.now() > deadline) {
      return seen;
    }
  }
}

/** Begins a request as soon as it may be begun: long before its lease of 10 s runs out. */
function beginSoon(service, key) {
  return eventually(() =>
    begin(service, key).catch((error) => {
      if (error.code !== inUse.code) {
        throw error;
      }
    }),
  );
}

/** What became of many calls: how many won, and the codes or types that the others failed with. */
async function settled(calls) {
  const results = await Promise.allSettled(calls);
  const reasons = results.filter(({ status }) => status === "rejected").map(({ reason }) => reason);
  return {
    won: results.length - reasons.length,
    codes: [...new Set(reasons.map((error) => error.code ?? error.type ?? String(error)))],
  };
}

/** A DataSource of a test's database, and services over it. */
async function openTypeOrm(database, options = {}) {
  const dataSource = new DataSource({ type: "postgres", url: database.url, ...options });
  await dataSource.initialize();
  database.closed({ close: () => dataSource.destroy() });
  const service = (given = {}) =>
    database.closed(new IdempotencyKeyService({ manager: dataSource.manager }, given));
  return { dataSource, service };
}

module.exports = {
  begin,
  beginSoon,
  eventually,
  inUse,
  leaseLost,
  openTypeOrm,
  reused,
  settled,
  signal,
  sleep,
};
