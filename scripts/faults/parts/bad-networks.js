"use strict";

// Networks that are slow, that tear messages and connections apart, and that forward nothing any more.

const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const { Client } = require("pg");
const { startProxy } = require("../../../__test__/helpers/proxy");
const { IdempotencyKeyService } = require("../../..");
const { callAll, holdAnswered, holdSlots, limitsOf, prepare } = require("../calls");
const { createEffects, holdOnce, startImpatient, startLoad } = require("../load");
const { eventually, noticeAll, hold, query, withServer, within } = require("../support");

const CLOSE = 5_000;
const SHORT = {
  delay: 50,
  rounds: 1,
  callers: 8,
  options: { connectTimeout: 1_000, statementTimeout: 1_500, acquireTimeout: 4_000 },
};
const FULL = {
  delay: 200,
  rounds: 5,
  callers: 8,
  options: { connectTimeout: 3_000, statementTimeout: 4_000, acquireTimeout: 15_000 },
};
/** For networks that lose nothing, on which no call may fail. */
const PATIENT = { connectTimeout: 5_000, statementTimeout: 10_000, acquireTimeout: 20_000 };

const name = "bad-networks";
const title = "Networks that are slow, tear, reset, or forward nothing any more";

/** How each forwards what comes, and what befalls its connections in each round. */
function networksOf({ delay }) {
  return {
    slow: {
      forward: (to, data) => setTimeout(() => to.write(data), delay),
      isReliable: true,
    },
    "byte by byte": {
      forward(to, data) {
        to.setNoDelay(true);
        data.forEach((byte) => to.write(Buffer.of(byte)));
      },
      isReliable: true,
    },
    resetting: {
      async befall({ cut }) {
        for (let time = 0; time < 20; time += 1) {
          await sleep(Math.random() * 50);
          cut(() => Math.random() < 0.3);
        }
      },
    },
    "half-open": { befall: ({ mute }) => mute() },
  };
}

async function run({ full, broken, log }) {
  const form = full ? FULL : SHORT;
  return withServer({}, async (server) => {
    await createEffects(server.url);
    if (broken) {
      return noticeAll(
        log,
        Object.entries({
          "a client without limits": () => unlimited(server),
          "work without idempotency keys": () => repeated(server),
        }),
      );
    }
    const setUp = new IdempotencyKeyService({}, { databaseUrl: server.url });
    await setUp.migrate();
    await setUp.close();
    const figures = Object.entries(networksOf(form)).map(async ([kind, network]) => {
      const { acknowledged, failures, longest, codes } = await through(server, network, form);
      const told = `${acknowledged.length} acknowledged, ${failures} failures, longest ${Math.round(longest)} ms`;
      log(`${kind}: ${told} ${[...codes].join(" ")}`);
      return [kind, told];
    });
    return Object.fromEntries(await Promise.all(figures));
  });
}

/** Load and calls of each kind through one network, which is well again in the end. */
async function through({ url }, { forward, befall, isReliable }, form) {
  const options = isReliable ? PATIENT : form.options;
  const limits = limitsOf(options);
  const network = { forward };
  const proxy = await startProxy(url, {
    forward: (to, data) => (network.forward ? network.forward(to, data) : to.write(data)),
  });
  const service = new IdempotencyKeyService({}, { databaseUrl: proxy.url, ...options });
  const load = await startLoad(proxy.url, { callers: form.callers, service: options });
  for (let round = 0; round < form.rounds; round += 1) {
    const prefix = await eventually(() => prepared(service), "no keys can be made");
    await load.answer(form.callers);
    const [outcomes] = await Promise.all([callAll(service, prefix, limits), befall?.(proxy)]);
    if (isReliable) {
      holdAnswered(outcomes);
    }
    await load.answer(form.callers);
  }
  await within(limits.runStages, load.stop(), "calls under way");
  hold(load.longest < limits.runStages, `a request took ${load.longest} ms`);
  hold(!load.codes.has(undefined), "a call failed without a code");
  hold(!isReliable || load.failures === 0, `calls failed: ${[...load.codes]}`);
  hold(isReliable || load.failures > 0, "the network was never bad");
  await holdOnce(url, load.acknowledged);
  network.forward = undefined;
  await holdSlots(service, 4, limits.workStage);
  await within(CLOSE, service.close(), "close()");
  await proxy.close();
  return load;
}

/** Makes the keys for calls, and returns their prefix; connections may still be broken. */
function prepared(service) {
  const prefix = randomUUID();
  return prepare(service, prefix).then(
    () => prefix,
    () => undefined,
  );
}

/** A control: a client without limits waits for ever for an answer that is lost. */
async function unlimited({ url }) {
  const proxy = await startProxy(url);
  const client = new Client({ connectionString: proxy.url });
  client.on("error", () => {});
  await client.connect();
  proxy.mute();
  const calls = {
    select: (_, key) => client.query("SELECT 1").then(() => ({ idempotency_key: key })),
  };
  try {
    await callAll(client, "unlimited", { select: 1_000 }, calls);
  } finally {
    await proxy.close();
  }
}

/** A control: who repeats work whose answer is lost does it twice. */
async function repeated({ url }) {
  await query(url, "TRUNCATE effect");
  let losesAnswers = false;
  const proxy = await startProxy(url, {
    forward: (to, data, isAnswer) => (losesAnswers && isAnswer ? undefined : to.write(data)),
  });
  const load = await startImpatient(proxy.url, SHORT.callers);
  await load.answer(50);
  losesAnswers = true;
  await eventually(() => load.failures >= SHORT.callers, "no call noticed that answers are lost");
  losesAnswers = false;
  await load.answer(SHORT.callers);
  await load.stop();
  await proxy.close();
  await holdOnce(url, load.acknowledged);
}

module.exports = { name, run, title };
