"use strict";

// Installs and compiles the example: `node prepare.js`, which prepares the database of DATABASE_URL, too.

const path = require("node:path");
const { isNewer, step } = require("../../scripts/steps");
const databases = require("./shop-database");

/** Installs the packages and compiles the routes, where that is not done yet. */
function prepare() {
  if (!isInstalled()) {
    const options = ["--ignore-scripts", "--include=dev", "--no-audit", "--no-fund"];
    step("installing Medusa v1 (a minute the first time)", "npm", ["ci", ...options], __dirname);
  }
  if (!isCompiled()) {
    const compiler = path.join("node_modules", "typescript", "bin", "tsc");
    step("compiling the routes of the Medusa v1 example", process.execPath, [compiler], __dirname);
  }
}

/** Whether there is nothing to prepare. */
function isPrepared() {
  return isInstalled() && isCompiled();
}

function isInstalled() {
  return isNewer(__dirname, "node_modules/.package-lock.json", ["package-lock.json"]);
}

function isCompiled() {
  return isNewer(__dirname, "dist/api/store/custom/route.js", ["src", "tsconfig.json"]);
}

async function main() {
  prepare();
  if (process.env.DATABASE_URL) {
    console.error("\n> migrating and seeding the database");
    await databases.prepareDatabase(process.env.DATABASE_URL);
  }
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
}

module.exports = { ...databases, isPrepared, prepare };
