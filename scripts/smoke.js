"use strict";

// Installs the tarballs of a release into an empty project, as a user of this system would, and runs a
// small program there:
//
//   node scripts/smoke.js FOLDER [--without-database]
//
// It needs Node and npm alone, and a server that DATABASE_URL names, or the one of `npm ci`.

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { parseArgs } = require("node:util");
const { tarballsFor } = require("./tarballs");

const PROGRAM = "program.js";
const PROJECT = path.join(__dirname, "../__test__/projects/commonjs");
const IS_WINDOWS = process.platform === "win32";

async function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { "without-database": { type: "boolean", default: false } },
  });
  const tarballs = tarballsFor(positionals[0] ?? "artifacts");
  const project = fs.mkdtempSync(path.join(os.tmpdir(), "smoke-"));
  try {
    fs.writeFileSync(path.join(project, "package.json"), '{ "private": true }\n');
    const options = ["--ignore-scripts", "--no-audit", "--no-fund"];
    await run("npm", ["install", ...options, ...tarballs], project, { shell: IS_WINDOWS });
    fs.copyFileSync(path.join(PROJECT, PROGRAM), path.join(project, PROGRAM));
    await withDatabase(values["without-database"], (databaseUrl) =>
      run(process.execPath, [PROGRAM], project, {
        env: { ...process.env, DATABASE_URL: databaseUrl },
      }),
    );
  } finally {
    fs.rmSync(project, { recursive: true, force: true, maxRetries: 10 });
  }
}

async function withDatabase(without, use) {
  if (without) {
    await use("");
  } else if (process.env.DATABASE_URL) {
    await use(process.env.DATABASE_URL);
  } else {
    const { startPostgres } = require("./postgres");
    const server = await startPostgres();
    try {
      await use(server.url);
    } finally {
      await server.stop();
    }
  }
}

function run(command, args, cwd, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: "inherit", ...options });
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      if (code === 0) {
        resolve();
      } else {
        reject(new Error(`${command} ${args[0]} ended with ${signal ?? code}`));
      }
    });
  });
}

main().catch((error) => {
  console.error(`> ${error.message}`);
  process.exitCode = 1;
});
