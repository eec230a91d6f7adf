"use strict";

// The libraries whose transactions the tests use: their own packages, so that nobody installs them to build or to
// lint. Older majors have a folder of their own, as they cannot be installed beside the newest.

const path = require("node:path");
const { isNewer, step } = require("./steps");

const ROOT = path.join(__dirname, "..");
const FOLDERS = ["newest", "previous"].map((name) => path.join(ROOT, "__test__/libraries", name));
/** Without install scripts: Prisma's would download programs from elsewhere, which nothing here needs. */
const INSTALL = ["ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"];

/** Installs what is missing, and has Prisma generate its clients. */
function installLibraries() {
  for (const folder of FOLDERS) {
    const name = path.relative(ROOT, folder);
    const isInstalled = isNewer(folder, "node_modules/.package-lock.json", ["package-lock.json"]);
    if (!isInstalled) {
      step(`installing the packages of ${name}`, "npm", INSTALL, folder);
    }
    const client = "generated/index.js";
    if (!isNewer(folder, client, ["schema.prisma", "node_modules/.package-lock.json"])) {
      generateClient(name, folder);
    }
  }
}

function generateClient(name, folder) {
  // Prisma downloads its engines also for a client that uses none, unless it is told where they are.
  process.env.PRISMA_SCHEMA_ENGINE_BINARY = process.execPath;
  process.env.PRISMA_QUERY_ENGINE_LIBRARY = process.execPath;
  process.env.CHECKPOINT_DISABLE = "1";
  process.env.PRISMA_HIDE_UPDATE_MESSAGE = "1";
  const prisma = path.join(folder, "node_modules/prisma/build/index.js");
  const args = [prisma, "generate", "--no-hints", "--schema", "schema.prisma"];
  step(`generating Prisma's client of ${name}`, process.execPath, args, folder);
}

module.exports = { installLibraries };
