"use strict";

// Whether a process that makes calls of every kind needs more and more memory.

const { fork } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const { PromiseBroken, withServer } = require("../support");

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
const title = "A process that makes calls of every kind for long";

/**
 * @param {object} options
 * @param {boolean} options.full a million calls in place of 36,000
 * @param {boolean} options.broken the process keeps all answers
 * @param {(line: string) => void} options.log
 * @returns {Promise<Record<string, string>>} how much more of each kind of memory the process uses in the end than
 *   after its warm-up: medians
 */
function run({ full, broken, log }) {
  // A leak is as plain in the short run.
  const form = full && !broken ? FULL : SHORT;
  return withServer({}, async ({ url }) => {
    const samples = await samplesOf({ ...form, url, leak: broken, log });
    return growthOf(samples, form, log);
  });
}

/** Runs the load, and collects the memory in use after each of its segments. */
async function samplesOf({ url, segments, callsOfSegment, leak, log }) {
  const args = [url, segments, callsOfSegment, ...(leak ? ["leak"] : [])];
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
    throw new PromiseBroken(`${kind} has grown by ${megabytes(most)} in ${calls} calls`);
  }
  return Object.fromEntries(growth.map(([name, bytes]) => [`growth of ${name}`, megabytes(bytes)]));
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}

function megabytes(bytes) {
  return `${(bytes / MEGABYTE).toFixed(1)} MB`;
}

module.exports = { name, run, title };
