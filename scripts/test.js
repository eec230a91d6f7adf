"use strict";

// Both test suites, against one PostgreSQL: the engine's, without Node, and the package's, in Jest. In CI the engine's
// pure functions are fuzzed besides, where that can be done.
// With arguments, which are Jest's, as a word of a test file's name, only the latter.

const path = require("node:path");
const { fuzzInTest } = require("./fuzz");
const { TEST_SETTINGS, startPostgres } = require("./postgres");
const { requireRust } = require("./rust");
const { exitCode } = require("./steps");

const ROOT = path.join(__dirname, "..");

const JEST_ARGUMENTS = process.argv.slice(2);

async function main() {
  if (JEST_ARGUMENTS.length === 0) {
    requireRust();
  }
  const server = process.env.DATABASE_URL
    ? { url: process.env.DATABASE_URL, stop: async () => {} }
    : await startPostgres({ settings: TEST_SETTINGS });
  try {
    const env = { ...process.env, TEST_DATABASE_URL: server.url };
    process.exitCode = (await engine(env)) || (await jest(env)) || fuzzed();
  } finally {
    await server.stop();
  }
}

function engine(env) {
  return JEST_ARGUMENTS.length === 0
    ? exitCode("cargo", ["test", "--quiet"], { cwd: ROOT, env })
    : 0;
}

function fuzzed() {
  return JEST_ARGUMENTS.length === 0 ? fuzzInTest() : 0;
}

function jest(env) {
  const args = [require.resolve("jest/bin/jest"), ...JEST_ARGUMENTS];
  return exitCode(process.execPath, args, { cwd: ROOT, env });
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
