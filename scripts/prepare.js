"use strict";

// Installs and builds what is missing, so that one command is enough after a fresh clone.

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { requireRust } = require("./rust");

const ROOT = path.join(__dirname, "..");
const ADDON = "medusa-idempotency-key.node";
const SOURCES = ["src", "Cargo.toml", "Cargo.lock", "build.rs", "scripts/build.js"];

function main() {
  if (!isNewer("node_modules/.package-lock.json", ["package-lock.json"])) {
    step("installing the npm packages", "npm", ["ci", "--no-fund", "--no-audit"]);
  }
  if (!process.argv.includes("--no-build") && !isNewer(ADDON, SOURCES)) {
    requireRust();
    step("building the addon (a few minutes the first time)", "npm", ["run", "build"]);
  }
}

function step(what, command, args) {
  console.error(`\n> ${what}`);
  const { status, error } = spawnSync(command, args, {
    cwd: ROOT,
    stdio: ["ignore", 2, 2],
    // On Windows npm is a script, which only a shell runs.
    shell: process.platform === "win32",
  });
  if (status !== 0) {
    console.error(`> failed: ${command} ${args.join(" ")}${error ? `: ${error.message}` : ""}`);
    process.exit(1);
  }
}

/** Whether a file is there and no older than any of the sources. */
function isNewer(file, sources) {
  const target = path.join(ROOT, file);
  if (!fs.existsSync(target)) {
    return false;
  }
  const built = fs.statSync(target).mtimeMs;
  return sources.every((source) => latestChange(path.join(ROOT, source)) <= built);
}

function latestChange(file) {
  const stat = fs.statSync(file);
  if (!stat.isDirectory()) {
    return stat.mtimeMs;
  }
  const inside = fs.readdirSync(file).map((name) => latestChange(path.join(file, name)));
  return Math.max(...inside);
}

main();
