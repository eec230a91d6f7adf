"use strict";

// A real PgBouncer in front of a test's server.

const { spawn, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");

const BINARIES = ["pgbouncer", "/usr/sbin/pgbouncer"];
const START_TIMEOUT = 60_000;
/** It refuses to run as root. */
const NOBODY = { uid: 65534, gid: 65534 };

/** The program's path, or nothing where it is not installed (`apt-get install pgbouncer`). */
function findPgBouncer() {
  return BINARIES.find((binary) => spawnSync(binary, ["--version"]).status === 0);
}

/**
 * Starts PgBouncer on a free port of 127.0.0.1.
 *
 * @param {string} url of the server behind it
 * @param {Record<string, string | number>} [settings] beside `pool_mode = transaction` and its defaults
 * @returns {Promise<{ url: string, stop(): Promise<void> }>} `url` names the same database
 */
async function startPgBouncer(url, settings = {}) {
  const { hostname, port, username } = new URL(url);
  const user = process.getuid?.() === 0 ? NOBODY : {};
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "idempotency-pgbouncer-"));
  const listenPort = await freePort();
  const ini = {
    pool_mode: "transaction",
    listen_addr: "127.0.0.1",
    listen_port: listenPort,
    unix_socket_dir: "",
    auth_type: "any",
    ...settings,
  };
  const lines = Object.entries(ini).map(([name, value]) => `${name} = ${value}`);
  const file = path.join(folder, "pgbouncer.ini");
  const target = `* = host=${hostname} port=${port} user=${username}`;
  fs.writeFileSync(file, `[databases]\n${target}\n\n[pgbouncer]\n${lines.join("\n")}\n`);
  if (user.uid) {
    fs.chownSync(folder, user.uid, user.gid);
  }
  const child = spawn(findPgBouncer(), [file], { ...user, stdio: ["ignore", "ignore", "pipe"] });
  const log = [];
  child.stderr.on("data", (chunk) => log.push(chunk));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const stop = async () => {
    child.kill("SIGTERM");
    child.kill("SIGINT");
    await Promise.race([ended, sleep(2_000, undefined, { ref: false })]);
    child.kill("SIGKILL");
    await ended;
    fs.rmSync(folder, { recursive: true, force: true });
  };
  if (!(await listens(listenPort, ended))) {
    await stop();
    throw new Error(`PgBouncer did not start: ${Buffer.concat(log)}`);
  }
  const own = new URL(url);
  own.host = `127.0.0.1:${listenPort}`;
  return { url: own.href, stop, log: () => Buffer.concat(log).toString() };
}

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listens(port, ended) {
  let running = true;
  void ended.then(() => (running = false));
  const until = Date.now() + START_TIMEOUT;
  while (running && Date.now() < until) {
    const connected = await new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (connected) {
      return true;
    }
    await sleep(20);
  }
  return false;
}

module.exports = { findPgBouncer, startPgBouncer };
