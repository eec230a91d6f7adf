"use strict";

// Installs and builds what is missing, so that one command is enough after a fresh clone.

const path = require("node:path");
const { installLibraries } = require("./libraries");
const { requireRust } = require("./rust");
const { isNewer, step } = require("./steps");

const ROOT = path.join(__dirname, "..");
const ADDON = "medusa-idempotency-key.node";
const SOURCES = ["src", "Cargo.toml", "Cargo.lock", "build.rs", "scripts/build.js"];

function main() {
  if (!isNewer(ROOT, "node_modules/.package-lock.json", ["package-lock.json"])) {
    step("installing the npm packages", "npm", ["ci", "--no-fund", "--no-audit"], ROOT);
  }
  if (!process.argv.includes("--no-build") && !isNewer(ROOT, ADDON, SOURCES)) {
    requireRust();
    step("building the addon (a few minutes the first time)", "npm", ["run", "build"], ROOT);
  }
  if (process.argv.includes("--libraries")) {
    installLibraries();
  }
}

try {
  main();
} catch (error) {
  console.error(`> ${error.message}`);
  process.exitCode = 1;
}
