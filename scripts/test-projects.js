"use strict";

// Runs the tests of users' projects (`__test__/projects`) with their own tools, installed by npm:
//
//   node scripts/test-projects.js [--tarballs FOLDER] [PROJECT ...]
//
// They use the package as it is packed here and the addon that was built here, or the tarballs in a
// folder.

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { parseArgs } = require("node:util");
const { startPostgres } = require("./postgres");
const { tarballsFor } = require("./tarballs");

const ROOT = path.join(__dirname, "..");
const PROJECTS = path.join(ROOT, "__test__/projects");
const PACKAGE = "medusa-idempotency-key";
const MIGRATE = `require("${PACKAGE}").createIdempotency().migrate()`;

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { tarballs: { type: "string" } },
  });
  const names = positionals.length > 0 ? positionals : fs.readdirSync(PROJECTS);
  const server = await startPostgres({ settings: { max_connections: 300, fsync: "off" } });
  try {
    for (const name of names) {
      console.log(`\n> ${name}`);
      testProject(name, values.tarballs, server.url);
    }
  } finally {
    await server.stop();
  }
}

function testProject(name, tarballs, databaseUrl) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `project-${name}-`));
  try {
    fs.cpSync(path.join(PROJECTS, name), folder, { recursive: true });
    install(folder, tarballs);
    const env = { DATABASE_URL: databaseUrl };
    // Once, as a user does: workers that create a table at once would wait for each other.
    run(process.execPath, ["-e", MIGRATE], folder, env);
    run("npm", ["test"], folder, env);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

function install(folder, tarballs) {
  const packages = tarballs ? tarballsFor(tarballs) : ["--install-links", ROOT];
  run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", ...packages], folder);
  if (!tarballs) {
    const built = fs.readdirSync(ROOT).filter((file) => file.endsWith(".node"));
    for (const file of built) {
      fs.copyFileSync(path.join(ROOT, file), path.join(folder, "node_modules", PACKAGE, file));
    }
  }
}

function run(command, args, cwd, env = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: "inherit",
  });
  if (status !== 0) {
    throw error ?? new Error(`${command} ${args.join(" ")} ended with ${status}`);
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
