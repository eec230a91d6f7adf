"use strict";

// Whether a process that makes calls of every kind needs more and more memory:
// `node scripts/faults/memory.js [--full] [--leak]`.

const { fork } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const { IdempotencyKeyService } = require("../..");
const { startPostgres } = require("../postgres");

const MEGABYTE = 2 ** 20;
/**
 * How many segments pass before memory is compared, how many are compared at the beginning and at the end, and
 * what growth is too much: the shorter the run, the less a leak has grown.
 */
const SHORT = {
  segments: 18,
  callsOfSegment: 2_000,
  warmUp: 6,
  compared: 4,
  tooMuch: 4 * MEGABYTE,
};
const FULL = {
  segments: 50,
  callsOfSegment: 20_000,
  warmUp: 10,
  compared: 10,
  tooMuch: 10 * MEGABYTE,
};

const name = "memory";

/**
 * @param {object} options
 * @param {string} options.databaseUrl
 * @param {(line: string) => void} options.log
 * @param {boolean} [options.full] a million calls in place of 36,000; and before them, whether a leak is noticed
 * @param {boolean} [options.leak] the process keeps all answers: the run has to fail
 * @returns {Promise<Record<"rss" | "heapUsed" | "external", number>>} how many bytes of each the process uses
 *   more in the end than after its warm-up: medians. Rejects if that is too much
 */
async function run({ databaseUrl, log, full = false, leak = false }) {
  if (full && !leak) {
    await requireNotice({ databaseUrl, log });
  }
  const form = full ? FULL : SHORT;
  const samples = await withSchema(databaseUrl, (schema) =>
    samplesOf({ ...form, databaseUrl, schema, leak, log }),
  );
  return growthOf(samples, form, log);
}

async function requireNotice({ databaseUrl, log }) {
  log("with a leak:");
  const noticed = await run({ databaseUrl, log, leak: true }).catch((error) => error);
  if (!(noticed instanceof MemoryGrown)) {
    throw noticed instanceof Error ? noticed : new Error("a leak of all answers was not noticed");
  }
  log(`${noticed.message}, as it has to\nwithout:`);
}

class MemoryGrown extends Error {}

/** Runs the load, and collects the memory in use after each of its segments. */
async function samplesOf({ databaseUrl, schema, segments, callsOfSegment, leak, log }) {
  const args = [databaseUrl, schema, segments, callsOfSegment, ...(leak ? ["leak"] : [])];
  const load = fork(path.join(__dirname, "memory-load.js"), args.map(String), {
    execArgv: ["--expose-gc"],
  });
  const samples = [];
  load.on("message", (sample) => {
    samples.push(sample);
    const figures = Object.entries(sample).map(([kind, bytes]) => `${kind} ${megabytes(bytes)}`);
    log(`${samples.length * callsOfSegment} calls: ${figures.join(", ")}`);
  });
  const [code, signal] = await once(load, "exit");
  if (code !== 0 || samples.length < segments) {
    throw new Error(`the process with the load ended with ${code ?? signal}`);
  }
  return samples;
}

/** Makes a schema with a table of keys, for as long as some work needs it. */
async function withSchema(databaseUrl, work) {
  const schema = `faults_memory_${process.pid}`;
  const service = new IdempotencyKeyService({}, { databaseUrl, schema });
  try {
    await service.migrate();
    return await work(schema);
  } finally {
    await service.atomicPhase_((manager) => manager.query(`DROP SCHEMA "${schema}" CASCADE`));
    await service.close();
  }
}

function growthOf(samples, { segments, callsOfSegment, warmUp, compared, tooMuch }, log) {
  const medians = (kind) =>
    [samples.slice(warmUp, warmUp + compared), samples.slice(-compared)].map((some) =>
      median(some.map((sample) => sample[kind])),
    );
  const growth = Object.keys(samples[0]).map((kind) => {
    const [before, after] = medians(kind);
    log(`${kind}: ${megabytes(before)} after the warm-up, ${megabytes(after)} in the end`);
    return [kind, after - before];
  });
  const [kind, most] = growth.toSorted(([, a], [, b]) => b - a)[0];
  if (most >= tooMuch) {
    const calls = (segments - warmUp - compared) * callsOfSegment;
    throw new MemoryGrown(`${kind} has grown by ${megabytes(most)} in ${calls} calls`);
  }
  return Object.fromEntries(growth);
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}

function megabytes(bytes) {
  return `${(bytes / MEGABYTE).toFixed(1)} MB`;
}

async function main(args) {
  const server = await startPostgres({ settings: { fsync: "off" } });
  try {
    const [full, leak] = ["--full", "--leak"].map((flag) => args.includes(flag));
    await run({ databaseUrl: server.url, log: console.log, full, leak });
  } finally {
    await server.stop();
  }
}

if (require.main === module) {
  main(process.argv.slice(2)).catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
}

module.exports = { name, run };
