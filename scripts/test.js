"use strict";

// Both test suites, against one PostgreSQL: the engine's, without Node, and the package's, in Jest.

const { spawn } = require("node:child_process");
const path = require("node:path");
const { startPostgres } = require("./postgres");

const ROOT = path.join(__dirname, "..");
/** What the tests ask of the server: many connections at once, and no wait for the disk. */
const SETTINGS = { max_connections: 300, fsync: "off", max_prepared_transactions: 10 };

async function main() {
  const server = process.env.DATABASE_URL
    ? { url: process.env.DATABASE_URL, stop: async () => {} }
    : await startPostgres({ settings: SETTINGS });
  try {
    const env = { ...process.env, TEST_DATABASE_URL: server.url };
    const code = (await run("cargo", ["test", "--quiet"], env)) || (await jest(env));
    process.exitCode = code;
  } finally {
    await server.stop();
  }
}

function jest(env) {
  const jestCommand = require.resolve("jest/bin/jest");
  return run(process.execPath, [jestCommand, ...process.argv.slice(2)], env);
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
