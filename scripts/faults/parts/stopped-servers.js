"use strict";

// A server that is stopped and started again, that stands still, or that is not there yet.

const { setTimeout: sleep } = require("node:timers/promises");
const { Client } = require("pg");
const { IdempotencyKeyService } = require("../../..");
const { callAll, holdAnswered, holdRefused, limitsOf, prepare } = require("../calls");
const { createEffects, holdOnce, startImpatient, startLoad } = require("../load");
const { eventually, noticeAll, hold, query, withServer, within } = require("../support");

const CALLERS = 16;
/** Milliseconds from the server's return until calls have to succeed again. */
const AGAIN = 5_000;
const SHORT = {
  rounds: 1,
  stillFor: 2_000,
  options: { connectTimeout: 400, statementTimeout: 600, acquireTimeout: 600 },
};
const FULL = {
  rounds: 20,
  stillFor: 15_000,
  options: { connectTimeout: 2_000, statementTimeout: 3_000, acquireTimeout: 3_000 },
};

const name = "stopped-servers";
const title = "A server that stops, stands still, or starts late";

async function run({ full, broken, log }) {
  return withServer({}, async (server) => {
    await createEffects(server.url);
    if (broken) {
      return noticeAll(
        log,
        Object.entries({
          "failures taken as done": () => stopped(server, SHORT, { careless: true }),
          "a client without limits": () => unlimited(server),
          "work without idempotency keys": () => repeated(server),
        }),
      );
    }
    const form = full ? FULL : SHORT;
    const figures = await stopped(server, form);
    log(`stopped and started: ${JSON.stringify(figures)}`);
    const still = await stoodStill(server, form);
    const late = await startedLate(server, form);
    return { ...figures, ...still, ...late };
  });
}

/** Under load the server is stopped, now with and now without a goodbye, and started again. */
async function stopped(server, { rounds, options }, load) {
  const running = await startLoad(server.url, { callers: CALLERS, service: options, ...load });
  let [first, all] = [0, 0];
  for (let round = 0; round < 2 * rounds; round += 1) {
    await running.answer(100);
    const failed = running.failures;
    await server.halt(round % 2 === 0 ? "INT" : "QUIT");
    await eventually(() => running.failures > failed, "no call noticed that the server stopped");
    await server.resume();
    first = Math.max(first, await running.answer(1));
    all = Math.max(all, await running.answer(2 * CALLERS));
  }
  await end(running, options);
  await holdOnce(server.url, running.acknowledged);
  hold(all < AGAIN, `answered again only after ${all} ms`);
  return {
    "acknowledged over the stops": running.acknowledged.length,
    "first answer after a start, at most": `${Math.round(first)} ms`,
    "all callers answered after that, at most": `${Math.round(all)} ms`,
    "longest request": `${Math.round(running.longest)} ms`,
  };
}

/** The callers stop; none of them has waited for longer than a request may. */
async function end(load, options) {
  const limit = limitsOf(options).runStages;
  await within(limit, load.stop(), "calls under way");
  hold(load.longest < limit, `a request took ${load.longest} ms`);
  hold(!load.codes.has(undefined), "a call failed without a code");
}

/** All processes of the server stand still under load, and go on. */
async function stoodStill(server, { stillFor, options }) {
  const load = await startLoad(server.url, { callers: CALLERS, service: options });
  const service = new IdempotencyKeyService({}, { databaseUrl: server.url, ...options });
  await prepare(service, "still");
  await load.answer(100);
  const begun = performance.now();
  const goOn = await standStill(server);
  try {
    const outcomes = await callAll(service, "still", limitsOf(options));
    holdRefused(outcomes, ["ETIMEDOUT", "stages_exhausted"]);
    await sleep(Math.max(0, stillFor - (performance.now() - begun)));
  } finally {
    await goOn();
  }
  const again = await load.answer(2 * CALLERS);
  await prepare(service, "on");
  holdAnswered(await callAll(service, "on", limitsOf(options)));
  await within(AGAIN, service.close(), "close()");
  await end(load, options);
  await holdOnce(server.url, load.acknowledged);
  hold(again < AGAIN, `answered again only after ${again} ms`);
  return {
    "longest request of a server that stood still": `${Math.round(load.longest)} ms`,
    "answered again after it went on": `${Math.round(again)} ms`,
  };
}

/** Has all processes of a server stand still, and returns what has them go on. */
async function standStill(server) {
  const client = new Client({ connectionString: server.url });
  await client.connect();
  const pids = [server.pid()];
  // From here on there is no further process.
  process.kill(pids[0], "SIGSTOP");
  const { rows } = await client.query("SELECT pid FROM pg_stat_activity");
  pids.push(...rows.map(({ pid }) => pid));
  const signal = (kind) => pids.forEach((pid) => sendIfThere(pid, kind));
  signal("SIGSTOP");
  return () => {
    signal("SIGCONT");
    return client.end();
  };
}

/** A process of the server's for a connection may have ended meanwhile. */
function sendIfThere(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (error.code !== "ESRCH") {
      throw error;
    }
  }
}

/** A service that is made while its server is down. */
async function startedLate(server, { options }) {
  await server.halt("INT");
  const service = new IdempotencyKeyService({}, { databaseUrl: server.url, ...options });
  holdRefused(await callAll(service, "down", limitsOf(options)), ["ECONNREFUSED"]);
  await server.resume();
  const begun = performance.now();
  await prepare(service, "up");
  const again = performance.now() - begun;
  holdAnswered(await callAll(service, "up", limitsOf(options)));
  await service.close();
  hold(again < AGAIN, `answered only ${again} ms after the server's start`);
  return { "answered after a late start": `${Math.round(again)} ms` };
}

/** A control: a client without limits asks a server that stands still. */
async function unlimited(server) {
  const client = new Client({ connectionString: server.url });
  await client.connect();
  const goOn = await standStill(server);
  try {
    const limits = { select: limitsOf(SHORT.options).retrieve };
    const calls = {
      select: (_, key) => client.query("SELECT 1").then(() => ({ idempotency_key: key })),
    };
    await callAll(client, "unlimited", limits, calls);
  } finally {
    await goOn();
    await client.end();
  }
}

/** A control: who repeats work because its answer is late does it twice. */
async function repeated(server) {
  await query(server.url, "TRUNCATE effect");
  const load = await startImpatient(server.url, CALLERS);
  await load.answer(100);
  const goOn = await standStill(server);
  await eventually(() => load.failures >= CALLERS, "no call noticed that the server stands still");
  await goOn();
  await load.answer(CALLERS);
  await load.stop();
  await holdOnce(server.url, load.acknowledged);
}

module.exports = { name, run, title };
