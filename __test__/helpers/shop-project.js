"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { EXAMPLE } = require("./medusa-installed");

const FIXTURE = path.join(__dirname, "../fixtures/medusa");

/**
 * Makes a Medusa project of a fixture's services, strategies and config, as it is once it is
 * compiled, with the packages that the example has installed.
 *
 * @returns {{ folder: string, remove(): void }} `folder`: the `directory` of its backends
 */
function makeProject() {
  // In its real place: Medusa compares paths.
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "medusa-project-")));
  fs.copyFileSync(path.join(EXAMPLE, "package.json"), path.join(folder, "package.json"));
  fs.copyFileSync(path.join(FIXTURE, "medusa-config.js"), path.join(folder, "medusa-config.js"));
  const routes = path.join("dist", "api");
  fs.cpSync(path.join(EXAMPLE, routes), path.join(folder, routes), { recursive: true });
  for (const kind of ["services", "strategies"]) {
    fs.cpSync(path.join(FIXTURE, kind), path.join(folder, "dist", kind), { recursive: true });
  }
  fs.symlinkSync(path.join(EXAMPLE, "node_modules"), path.join(folder, "node_modules"), "dir");
  return {
    folder,
    remove: () => fs.rmSync(folder, { recursive: true, force: true }),
  };
}

module.exports = { makeProject };
