"use strict";

// A server of its own on a slow disk: each flush of its log takes some milliseconds longer. The delay is
// in the C library's fdatasync, so that PostgreSQL and what measures it know nothing of it.

const assert = require("node:assert");
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { startPostgres } = require("../scripts/postgres");
const { withClient } = require("./database");
const { middle } = require("./measure");
const { SLOW_DISK } = require("./settings");

const SOURCE = path.join(__dirname, "slow-disk.c");
/** Of the log's flush, which has to be the one that is slow. */
const SETTINGS = { fsync: "on", wal_sync_method: "fdatasync", synchronous_commit: "on" };
const COMMITS = 20;

/** Why there can be none here; nothing, if there can. */
function whyNoSlowDisk({ platform = process.platform, isGiven = false, compiler = "cc" } = {}) {
  if (platform !== "linux") {
    return "No slow disk: its library is preloaded, which works on Linux only.";
  }
  if (isGiven) {
    return "No slow disk: its library is preloaded into a server that the benchmark starts, not into that of DATABASE_URL.";
  }
  if (spawnSync(compiler, ["--version"]).status !== 0) {
    return "No slow disk: there is no C compiler (cc) to build its library with.";
  }
  return undefined;
}

/**
 * Starts the server, and checks that it is slow.
 *
 * @param {{ least?: number }} [options] how many microseconds a commit has to take
 * @returns {Promise<{ url: string, stop(): Promise<void> }>}
 */
async function startOnSlowDisk({ least = SLOW_DISK.delay } = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "slow-disk-"));
  // The server may run as another user.
  fs.chmodSync(folder, 0o755);
  let server;
  const stop = async () => {
    await server?.stop();
    fs.rmSync(folder, { recursive: true, force: true });
  };
  try {
    const env = { LD_PRELOAD: compiled(folder), SLOW_DISK_DELAY: String(SLOW_DISK.delay) };
    server = await startPostgres({ settings: SETTINGS, env });
    await requireSlow(server.url, least);
    return { url: server.url, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function compiled(folder) {
  const library = path.join(folder, "slow-disk.so");
  const options = ["-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"];
  const { status, stderr } = spawnSync("cc", options, { encoding: "utf8" });
  if (status !== 0) {
    throw new Error(`cc cannot build ${SOURCE}: ${stderr}`);
  }
  return library;
}

/** Throws unless the server flushes its log as it is to, and every commit waits for it. */
async function requireSlow(url, least) {
  await withClient(url, async (client) => {
    for (const [name, value] of Object.entries(SETTINGS)) {
      const { rows } = await client.query("SELECT current_setting($1) AS value", [name]);
      assert.strictEqual(rows[0].value, value, name);
    }
    const shortest = Math.min(...(await commits(client)));
    assert(shortest >= least, `a commit took ${shortest} µs only: the disk is not slow`);
  });
}

/** Microseconds that commits of one row each take. */
async function commits(client) {
  await client.query("CREATE TABLE committed (n int)");
  const times = [];
  for (let n = 0; n < COMMITS; n += 1) {
    const before = performance.now();
    await client.query("INSERT INTO committed VALUES ($1)", [n]);
    times.push((performance.now() - before) * 1e3);
  }
  await client.query("DROP TABLE committed");
  return times;
}

/** The middle one of commits that come one after the other. */
async function commitTime(url) {
  return withClient(url, async (client) => middle(await commits(client)));
}

module.exports = { commitTime, startOnSlowDisk, whyNoSlowDisk };
