"use strict";

// An example as a user runs it: `npm start` in its folder, with the PostgreSQL that it brings.

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const net = require("node:net");
const { setTimeout: sleep } = require("node:timers/promises");
const { Client } = require("pg");
const { ask } = require("./http-client");

const START_TIMEOUT = 180_000;
const PATIENCE = 60_000;
/** What is the test's own business, and what would make examples build or store something else. */
const NOT_A_USERS = /^(npm_.*|DATABASE_URL|INIT_CWD|NODE_ENV|NODE_OPTIONS|PORT)$/i;
/** No telemetry; and Prisma generates a client without the engines that it would download. */
const QUIET = {
  CHECKPOINT_DISABLE: "1",
  NEXT_TELEMETRY_DISABLED: "1",
  PRISMA_HIDE_UPDATE_MESSAGE: "1",
  PRISMA_QUERY_ENGINE_LIBRARY: process.execPath,
  PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
};

/**
 * Starts an example that is installed.
 *
 * @param {string} folder
 * @returns {Promise<{ url: string, databaseUrl: string, pid(): number, again(pid: number): Promise<void>, stop(): Promise<void> }>}
 *   `pid()`: of the process that serves; `again()` waits until another than that serves
 */
async function startExample(folder) {
  const port = await freePort();
  const env = { ...usersEnvironment(), PORT: String(port) };
  const stdio = ["ignore", "pipe", "inherit"];
  // As a terminal starts it: Ctrl-C reaches npm, and all that it has started.
  const child = spawn("npm", ["start"], { cwd: folder, env, stdio, detached: true });
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (printed += text));
  const closed = once(child, "close");
  const pid = () => Number([...printed.matchAll(/served by process (\d+)/g)].at(-1)?.[1]);
  const url = `http://127.0.0.1:${port}/orders`;
  const serves = async () => Boolean(pid()) && (await isAnswered(url));
  const ready = () => child.exitCode !== null || serves();
  const stop = async () => {
    if (child.exitCode === null) {
      process.kill(-child.pid, "SIGINT");
    }
    await closed;
  };
  if (!(await eventually(ready, START_TIMEOUT)) || child.exitCode !== null) {
    await stop();
    throw new Error(`npm start of ${folder} does not serve: ${printed}`);
  }
  const again = (old) => eventually(async () => pid() !== old && (await serves()), START_TIMEOUT);
  const [, databaseUrl] = /PostgreSQL: (\S+)/.exec(printed);
  return { url, databaseUrl, pid, again, stop };
}

function usersEnvironment() {
  const kept = Object.entries(process.env).filter(([name]) => !NOT_A_USERS.test(name));
  return { ...Object.fromEntries(kept), ...QUIET };
}

function isAnswered(url) {
  return ask(url, { method: "GET" }).answer.then(
    ({ status }) => status === 200,
    () => false,
  );
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Looks again and again until there is something true to see, which is answered. */
async function eventually(look, patience = PATIENCE) {
  for (const deadline = Date.now() + patience; ; await sleep(20)) {
    const seen = await look();
    if (seen || Date.now() > deadline) {
      return seen;
    }
  }
}

/**
 * Keeps an example from placing orders, so that its requests stay in the middle of their work.
 *
 * @returns {Promise<{ untilMet(): Promise<void>, release(): Promise<void> }>} `untilMet()` waits until a request waits
 */
async function holdOrders({ databaseUrl }) {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query("BEGIN");
  await client.query("LOCK TABLE orders IN SHARE MODE");
  const sql = "SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted";
  const isMet = async () => (await client.query(sql)).rows[0].waiting > 0;
  return {
    untilMet: () => eventually(isMet),
    release: () => client.end(),
  };
}

module.exports = { QUIET, eventually, holdOrders, startExample };
