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

const ROOT = path.join(__dirname, "..");
const PROJECTS = path.join(ROOT, "__test__/projects");
const PACKAGE = "medusa-idempotency-key";

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { tarballs: { type: "string" } },
  });
  const names = positionals.length > 0 ? positionals : fs.readdirSync(PROJECTS);
  const server = await startPostgres({ settings: { max_connections: 300, fsync: "off" } });
  try {
    await migrate(server.url);
    for (const name of names) {
      console.log(`\n> ${name}`);
      testProject(name, values.tarballs, server.url);
    }
  } finally {
    await server.stop();
  }
}

/** A user does so once, too: several workers that create a table at once would wait for each other. */
async function migrate(databaseUrl) {
  const { IdempotencyKeyService } = require("..");
  const service = new IdempotencyKeyService({}, { databaseUrl });
  await service.migrate();
  await service.close();
}

function testProject(name, tarballs, databaseUrl) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `project-${name}-`));
  try {
    fs.cpSync(path.join(PROJECTS, name), folder, { recursive: true });
    install(folder, tarballs && path.resolve(tarballs));
    run("npm", ["test"], folder, { DATABASE_URL: databaseUrl });
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

function install(folder, tarballs) {
  const packages = tarballs ? tarballsIn(tarballs) : ["--install-links", ROOT];
  run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", ...packages], folder);
  if (!tarballs) {
    const built = fs.readdirSync(ROOT).filter((file) => file.endsWith(".node"));
    for (const file of built) {
      fs.copyFileSync(path.join(ROOT, file), path.join(folder, "node_modules", PACKAGE, file));
    }
  }
}

function tarballsIn(folder) {
  const found = fs.readdirSync(folder).filter((file) => file.endsWith(".tgz"));
  if (found.length === 0) {
    throw new Error(`there are no tarballs in ${folder}`);
  }
  return found.map((file) => path.join(folder, file));
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
