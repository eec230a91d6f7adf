"use strict";

// Installs and starts an example of a framework, with this package as it is built here:
//
//   node scripts/example.js NAME

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { NPM } = require("./package-managers");
const { isNewer, step } = require("./steps");

const ROOT = path.join(__dirname, "..");
const EXAMPLES = path.join(ROOT, "examples");
/** Without a lock file, which would name this folder instead of the published package. */
const INSTALL = ["install", "--no-save", "--no-package-lock", "--no-fund", "--no-audit"];

function main([name]) {
  const names = fs
    .readdirSync(EXAMPLES)
    .filter((each) => fs.existsSync(path.join(EXAMPLES, each, "postgres.js")));
  if (!names.includes(name)) {
    throw new Error(`Which example? npm run example NAME, where NAME is ${names.join(", ")}`);
  }
  const folder = path.join(EXAMPLES, name);
  if (!isNewer(folder, "node_modules/.package-lock.json", ["package.json"])) {
    step(`installing examples/${name}`, "npm", [...INSTALL, ROOT], folder);
  }
  // Ctrl-C ends the example, and this process with it.
  process.on("SIGINT", () => {});
  const options = { cwd: folder, stdio: "inherit", shell: process.platform === "win32" };
  const { status } = spawnSync(NPM, ["start"], options);
  process.exitCode = status ?? 1;
}

try {
  main(process.argv.slice(2));
} catch (error) {
  console.error(`> ${error.message}`);
  process.exitCode = 1;
}
