"use strict";

const NANOSECONDS = 1e9;

const never = () => false;
const ofThis = () => process.cpuUsage();

/**
 * Callers that each make one call after the other, for some time.
 *
 * @param {{
 *   input(): unknown,
 *   call(input: unknown): Promise<unknown>,
 *   callers: number,
 *   seconds: number,
 *   mayReject?(error: unknown): boolean,
 *   cpuUsage?(): NodeJS.CpuUsage | Promise<NodeJS.CpuUsage>,
 * }} round `input` makes what a call takes, outside of its measured time; `undefined` is the end;
 *   a call that rejects as it may is counted as rejected and as nothing else
 * @returns {Promise<Figures>} `cpu` is of the whole process, threads of native code included: of this one, or of
 *   that which `cpuUsage` asks
 *
 * @typedef {object} Figures
 * @property {number} p50 microseconds
 * @property {number} throughput calls per second
 * @property {number} [cpu] microseconds a call
 * @property {number} [calls]
 * @property {number} [rejected] share of the calls
 */
async function measure({ input, call, callers, seconds, mayReject = never, cpuUsage = ofThis }) {
  const latencies = [];
  let rejected = 0;
  const usage = await cpuUsage();
  const start = process.hrtime.bigint();
  const end = start + BigInt(Math.round(seconds * NANOSECONDS));

  async function caller() {
    for (let now = start; now < end;) {
      const given = input();
      if (given === undefined) {
        return;
      }
      const before = process.hrtime.bigint();
      const isDone = await fulfilled(call(given), mayReject);
      now = process.hrtime.bigint();
      if (isDone) {
        latencies.push(Number(now - before) / 1e3);
      } else {
        rejected += 1;
      }
    }
  }

  await Promise.all(Array.from({ length: callers }, caller));
  const elapsed = Number(process.hrtime.bigint() - start) / NANOSECONDS;
  const { user, system } = await cpuUsage();
  const calls = latencies.length;
  return {
    p50: middle(latencies),
    throughput: calls / elapsed,
    cpu: (user + system - usage.user - usage.system) / calls,
    calls,
    rejected: rejected / (calls + rejected),
  };
}

/** Whether a promise is fulfilled; throws what it must not reject with. */
async function fulfilled(promise, mayReject) {
  try {
    await promise;
    return true;
  } catch (error) {
    if (mayReject(error)) {
      return false;
    }
    throw error;
  }
}

/** Microseconds that each of so many calls took, of a function that is not asynchronous. */
function measureSync({ input, call, calls }) {
  const latencies = new Float64Array(calls);
  for (let index = 0; index < calls; index += 1) {
    const given = input();
    const before = process.hrtime.bigint();
    call(given);
    latencies[index] = Number(process.hrtime.bigint() - before) / 1e3;
  }
  return { p50: middle(latencies) };
}

/** The median. */
function middle(numbers) {
  const sorted = Float64Array.from(numbers).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

module.exports = { measure, measureSync, middle };
