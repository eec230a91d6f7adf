"use strict";

// What a great many creates cost a process that does nothing else, and what they leave behind.

const { fork } = require("node:child_process");
const { once } = require("node:events");
const { setTimeout: sleep } = require("node:timers/promises");
const { IdempotencyKeyService } = require("..");
const { newRequest } = require("./keys");

const CALLERS = 64;
/**
 * V8 enlarges its young generation while it is busy, up to this size by default, whatever it is busy
 * with: given all of it at once, what grows is what calls leave behind.
 */
const V8_FLAGS = ["--min-semi-space-size=16", "--max-semi-space-size=16", "--expose-gc"];
/** Of the time, at most. */
const WARM_UP_SHARE = 1 / 6;
const MEBIBYTE = 2 ** 20;

/**
 * @param {string} url
 * @param {{ connections: number, creates: number, warmUp: number, seconds: number }} settings
 *   `creates`: so many at most, and no longer than for `seconds`
 * @returns {Promise<{ creates: number, seconds: number, cpu: number, growth: number }>} `cpu`:
 *   microseconds a call, threads of native code included; `growth`: of the process's resident set,
 *   mebibytes
 */
async function measureCreating(url, settings) {
  const child = fork(__filename, [JSON.stringify({ url, ...settings })], {
    execArgv: V8_FLAGS,
  });
  const ended = once(child, "exit").then(([code, signal]) => {
    throw new Error(`the process that creates keys ended with ${code ?? signal}`);
  });
  const [figures] = await Promise.race([once(child, "message"), ended]);
  ended.catch(() => {});
  return figures;
}

async function main({ url, connections, creates, warmUp, seconds }) {
  const service = new IdempotencyKeyService(
    {},
    // One connection more is kept for single statements.
    { databaseUrl: url, maxConnections: connections - 1 },
  );
  await create(service, warmUp, seconds * WARM_UP_SHARE);
  const before = await residentSet();
  const start = performance.now();
  const usage = process.cpuUsage();
  const created = await create(service, creates, seconds * (1 - WARM_UP_SHARE));
  const { user, system } = process.cpuUsage(usage);
  const elapsed = (performance.now() - start) / 1e3;
  const growth = ((await residentSet()) - before) / MEBIBYTE;
  process.send({ creates: created, seconds: elapsed, cpu: (user + system) / created, growth });
  await service.close();
  process.disconnect();
}

async function create(service, count, seconds) {
  const end = performance.now() + seconds * 1e3;
  let created = 0;
  const caller = async () => {
    while (created < count && performance.now() < end) {
      created += 1;
      await service.create(newRequest());
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  return created;
}

/** Without what is only not collected yet. */
async function residentSet() {
  for (let times = 0; times < 3; times += 1) {
    global.gc();
    await sleep(50);
  }
  return process.memoryUsage.rss();
}

if (require.main === module) {
  main(JSON.parse(process.argv[2])).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = { CALLERS, measureCreating };
