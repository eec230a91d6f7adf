"use strict";

// Both test suites, against one PostgreSQL: the engine's, without Node, and the package's, in Jest. In CI the engine's
// pure functions are fuzzed besides, where that can be done.
// With arguments, which are Jest's, as a word of a test file's name, only the latter.

const { spawn } = require("node:child_process");
const path = require("node:path");
const { fuzzInTest } = require("./fuzz");
const { startPostgres } = require("./postgres");
const { requireRust } = require("./rust");

const ROOT = path.join(__dirname, "..");
/** What the tests ask of the server: many connections at once, and no wait for the disk. */
const SETTINGS = { max_connections: 300, fsync: "off", max_prepared_transactions: 10 };

const JEST_ARGUMENTS = process.argv.slice(2);

async function main() {
  if (JEST_ARGUMENTS.length === 0) {
    requireRust();
  }
  const server = process.env.DATABASE_URL
    ? { url: process.env.DATABASE_URL, stop: async () => {} }
    : await startPostgres({ settings: SETTINGS });
  try {
    const env = { ...process.env, TEST_DATABASE_URL: server.url };
    process.exitCode = (await engine(env)) || (await jest(env)) || fuzzed();
  } finally {
    await server.stop();
  }
}

function engine(env) {
  return JEST_ARGUMENTS.length === 0 ? run("cargo", ["test", "--quiet"], env) : 0;
}

function fuzzed() {
  return JEST_ARGUMENTS.length === 0 ? fuzzInTest() : 0;
}

function jest(env) {
  return run(process.execPath, [require.resolve("jest/bin/jest"), ...JEST_ARGUMENTS], env);
}

function run(command, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, env, stdio: "inherit" });
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
