"use strict";

// A primary that is lost under load, and its standby, which takes its place. `FAILOVER_ROUNDS` says how often.

const { setTimeout: sleep } = require("node:timers/promises");
const { IdempotencyKeyService } = require("..");
const { startProxy } = require("./helpers/proxy");
const { query, startReplicas } = require("./helpers/replicas");

const ROUNDS = Number(process.env.FAILOVER_ROUNDS ?? 1);
const CALLERS = 16;
const closing = [];

jest.setTimeout(120_000);

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) {
    await close();
  }
});

async function replicas(options) {
  const started = await startReplicas(options);
  closing.push(() => started.stop());
  await query(started.primary, "CREATE TABLE effect (name text)");
  return started;
}

/** Requests by many callers, each of which repeats its own until it is answered. */
async function load(databaseUrl) {
  const service = new IdempotencyKeyService(
    {},
    {
      databaseUrl,
      connectTimeout: 2_000,
      leaseTimeout: 1_000,
    },
  );
  await service.migrate();
  closing.push(() => service.close());
  const load = { acknowledged: [], failures: 0, lastAnswer: 0, running: true };
  const request = async (key) => {
    const { response_body } = await service.runStages(
      { key, method: "POST", path: "/" },
      {
        started: async (manager) => {
          await manager.query("INSERT INTO effect (name) VALUES ($1)", [key]);
          return { response_code: 200, response_body: { key } };
        },
      },
    );
    expect(response_body).toEqual({ key });
  };
  const caller = async (_, number) => {
    for (let count = 0; load.running; count += 1) {
      const key = `caller-${number}-${count}`;
      for (;;) {
        try {
          await request(key);
          break;
        } catch (error) {
          load.failures += 1;
          load.lastError = error;
          await sleep(20);
        }
      }
      load.acknowledged.push(key);
      load.lastAnswer = performance.now();
    }
  };
  const callers = Promise.all(Array.from({ length: CALLERS }, caller));
  load.until = async (count) => {
    for (const end = performance.now() + 60_000; load.acknowledged.length < count; await sleep(5)) {
      if (performance.now() > end) {
        throw load.lastError;
      }
    }
  };
  load.stop = async () => {
    load.running = false;
    await callers;
  };
  return load;
}

/** What of the acknowledged requests is not there, or is there twice. */
async function faults(url, acknowledged) {
  const effects = await query(url, "SELECT name, count(*)::int AS count FROM effect GROUP BY name");
  const counts = new Map(effects.map(({ name, count }) => [name, count]));
  return {
    lost: acknowledged.filter((key) => !counts.has(key)).length,
    twice: effects.filter(({ count }) => count > 1).length,
  };
}

/** The time from the promotion until every caller has been answered once more. */
async function answeredAgain(running) {
  const promoted = performance.now();
  await running.until(running.acknowledged.length + 2 * CALLERS);
  return performance.now() - promoted;
}

const rounds = Array.from({ length: ROUNDS }, (_, index) => [index + 1]);

test.each(rounds)("with two hosts nothing acknowledged is lost: round %i", async () => {
  const servers = await replicas({ synchronous: true });
  const url = new URL(servers.primary);
  const both = `postgres://postgres@${url.host},${new URL(servers.standby).host}/postgres`;
  const running = await load(`${both}?target_session_attrs=read-write`);
  await running.until(200);
  servers.kill();
  await servers.promote();
  expect(await answeredAgain(running)).toBeLessThan(5_000);
  await running.stop();
  expect(running.failures).toBeGreaterThan(0);
  expect(await faults(servers.standby, running.acknowledged)).toEqual({ lost: 0, twice: 0 });
});

test.each(rounds)(
  "with one address that moves connections to the old server end: round %i",
  async () => {
    const servers = await replicas({ synchronous: true });
    const proxy = await startProxy(servers.primary);
    closing.push(() => proxy.close());
    const running = await load(proxy.url);
    await running.until(200);
    await servers.makeReadOnly();
    await servers.promote();
    // What is connected stays connected to the old server.
    proxy.moveTo(servers.standby);
    expect(await answeredAgain(running)).toBeLessThan(5_000);
    await running.stop();
    expect(await faults(servers.standby, running.acknowledged)).toEqual({ lost: 0, twice: 0 });
  },
);

test("a standby that is not synchronous loses some, and this test sees it", async () => {
  const servers = await replicas({ synchronous: false });
  const running = await load(servers.primary);
  await running.until(100);
  await servers.disconnect();
  await running.until(running.acknowledged.length + 100);
  running.running = false;
  await running.stop();
  servers.kill();
  await servers.promote();
  expect((await faults(servers.standby, running.acknowledged)).lost).toBeGreaterThan(0);
});
