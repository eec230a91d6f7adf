"use strict";

// Requests over HTTP to apps on Express, each in a process of its own: with this package, with published libraries
// whose keys are in PostgreSQL, too, and without idempotency.

const { strict: assert } = require("node:assert");
const { fork } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const path = require("node:path");
const { Pool } = require("undici");
const { compareAll } = require("./compare");
const { migrate, withClient } = require("./database");
const expressIdempotency = require("./peers/express/express-idempotency");
const nodeIdempotency = require("./peers/express/node-idempotency");
const { progress } = require("./report");
const { resultOf } = require("./results");

const APP = path.join(__dirname, "peers/express/app.js");
const OURS = ["capturing", "staged"];
const FORMS = [...OURS, "bare", "nodeIdempotency", "expressIdempotency"];

const TABLES = [
  "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text NOT NULL)",
  nodeIdempotency.TABLE,
  expressIdempotency.TABLE,
];

const CONNECTIONS = 64;
/** So many requests of each app are there to be replayed. */
const REPLAYED = 512;
const BODY = JSON.stringify({ item: "a book" });
const HEADERS = { "content-type": "application/json" };

/** Apps are processes that have to warm up, and their requests take longer than calls. */
const paceOf = ({ rounds, seconds, warmUp }) => ({
  rounds,
  seconds: 1.5 * seconds,
  warmUp: 4 * warmUp,
});

let replays = 0;
const SCENARIOS = [
  {
    name: "new keys",
    operation: "request",
    callers: [CONNECTIONS],
    targets: { [CONNECTIONS]: { nodeIdempotency: 1.5, expressIdempotency: 1.5 } },
    input: () => randomUUID(),
    call: (app, key) => app.post(key),
  },
  {
    name: "replays",
    operation: "replay",
    callers: [CONNECTIONS],
    targets: { [CONNECTIONS]: { nodeIdempotency: 2, expressIdempotency: 2 } },
    input: () => keyOf((replays += 1) % REPLAYED),
    call: (app, key) => app.post(key),
  },
];

const keyOf = (number) => `replayed-${number}`;

/** @param {import("./parts").Run} run */
async function throughExpress({ server, pace }) {
  const apps = {};
  try {
    for (const form of FORMS) {
      progress(`Express, ${form}: starting`);
      apps[form] = await openApp(form, await databaseOn(server));
    }
    const compared = await compareAll(apps, SCENARIOS, paceOf(pace), progress);
    return compared.flatMap(byForm).map(resultOf);
  } finally {
    await Promise.all(Object.values(apps).map((app) => app.close()));
  }
}

/** Each of our forms is compared with all others. */
function byForm({ scenario, callers, figures: { capturing, staged, ...others } }) {
  return Object.entries({ capturing, staged }).map(([form, ours]) => ({
    scenario: { ...scenario, name: `Express, ${form}: ${scenario.name}` },
    callers,
    figures: { ours, ...others },
  }));
}

/** Of an app's own: what another one has written is not in its way. */
async function databaseOn(server) {
  const url = await server.createDatabase();
  await migrate(url);
  await withClient(url, (client) => client.query(TABLES.join(";")));
  return url;
}

async function openApp(form, url) {
  const child = fork(APP, [form, url], { env: { ...process.env, NODE_ENV: "production" } });
  const ended = once(child, "exit");
  const failed = ended.then(([code]) => {
    throw new Error(`the app "${form}" ended with ${code}`);
  });
  failed.catch(() => {});
  const message = () => Promise.race([once(child, "message").then(([given]) => given), failed]);
  const { port } = await message();
  const client = new Pool(`http://127.0.0.1:${port}`, { connections: CONNECTIONS, pipelining: 1 });
  const app = {
    knows: (operation) => form !== "bare" || operation === "request",
    post: (key) => post(client, key),
    cpuUsage() {
      child.send("cpuUsage");
      return message();
    },
    async close() {
      await client.close();
      child.disconnect();
      await ended;
    },
  };
  try {
    await (form === "bare" ? app.post() : requireReplays(app, url));
    return app;
  } catch (error) {
    await app.close();
    throw error;
  }
}

/** Makes the requests that are replayed later. Apps are comparable only if they do the same. */
async function requireReplays(app, url) {
  const keys = Array.from({ length: REPLAYED }, (_, number) => keyOf(number));
  const answers = await Promise.all(keys.map((key) => app.post(key)));
  for (const [number, key] of keys.entries()) {
    assert.equal(await replayOf(app, key), answers[number]);
  }
  await withClient(url, async (client) => {
    const { rows } = await client.query("SELECT count(*)::int AS orders FROM orders");
    assert.equal(rows[0].orders, REPLAYED);
  });
}

/** Other libraries store an answer after it is sent: until then a duplicate is refused. */
async function replayOf(app, key) {
  for (;;) {
    try {
      return await app.post(key);
    } catch (error) {
      if (error.status !== 409) {
        throw error;
      }
    }
  }
}

async function post(client, key) {
  const headers = { ...HEADERS, "idempotency-key": key };
  const { statusCode, body } = await client.request({
    path: "/orders",
    method: "POST",
    headers,
    body: BODY,
  });
  const text = await body.text();
  if (statusCode !== 201) {
    const error = new Error(`a request was answered ${statusCode}: ${text}`);
    throw Object.assign(error, { status: statusCode });
  }
  return text;
}

module.exports = { throughExpress };
