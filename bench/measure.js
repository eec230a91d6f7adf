"use strict";

const NANOSECONDS = 1e9;

/**
 * Callers that each make one call after the other, for some time.
 *
 * @param {{
 *   input(): unknown,
 *   call(input: unknown): Promise<unknown>,
 *   callers: number,
 *   seconds: number,
 * }} round `input` makes what a call takes, outside of its measured time; `undefined` is the end
 * @returns {Promise<Figures>} `cpu` is of the whole process, threads of native code included
 *
 * @typedef {object} Figures
 * @property {number} p50 microseconds
 * @property {number} throughput calls per second
 * @property {number} [cpu] microseconds a call
 * @property {number} [calls]
 */
async function measure({ input, call, callers, seconds }) {
  const latencies = [];
  const usage = process.cpuUsage();
  const start = process.hrtime.bigint();
  const end = start + BigInt(Math.round(seconds * NANOSECONDS));

  async function caller() {
    for (let now = start; now < end;) {
      const given = input();
      if (given === undefined) {
        return;
      }
      const before = process.hrtime.bigint();
      await call(given);
      now = process.hrtime.bigint();
      latencies.push(Number(now - before) / 1e3);
    }
  }

  await Promise.all(Array.from({ length: callers }, caller));
  const elapsed = Number(process.hrtime.bigint() - start) / NANOSECONDS;
  const { user, system } = process.cpuUsage(usage);
  const calls = latencies.length;
  return {
    p50: middle(latencies),
    throughput: calls / elapsed,
    cpu: (user + system) / calls,
    calls,
  };
}

/** The median. */
function middle(numbers) {
  const sorted = Float64Array.from(numbers).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

module.exports = { measure, middle };
