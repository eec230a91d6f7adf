"use strict";

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const manifest = require("../../package.json");

const ROOT = path.join(__dirname, "../..");
const NAME = manifest.name;

/** Requires the package, says how that ended, and goes on. */
const PROGRAM = `
  const outcome = {};
  try {
    const { IdempotencyKeyService } = require(process.argv[2] ?? "${NAME}");
    outcome.stageKey = new IdempotencyKeyService({}, { databaseUrl: "postgres://127.0.0.1:1/none" })
      .stageKey("key", "stage");
  } catch ({ code, message, cause }) {
    Object.assign(outcome, { code, message, cause: cause?.message });
  }
  setImmediate(() => console.log(JSON.stringify(outcome)));
`;

/** A project that has the package installed, as this repository has it, without any binary. */
class InstalledPackage {
  #folder = fs.mkdtempSync(path.join(os.tmpdir(), "idempotency-installed-"));
  folder = path.join(this.#folder, "node_modules", NAME);

  constructor() {
    for (const file of ["package.json", ...manifest.files]) {
      fs.cpSync(path.join(ROOT, file), path.join(this.folder, file), { recursive: true });
    }
    fs.writeFileSync(path.join(this.#folder, "program.js"), PROGRAM);
  }

  /** Installs a platform's package with the given binary, or without one. */
  addPlatform(platform, binary) {
    const name = `${NAME}-${platform}`;
    const folder = path.join(this.#folder, "node_modules", name);
    const main = `${NAME}.${platform}.node`;
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify({ name, main }));
    if (binary) {
      fs.writeFileSync(path.join(folder, main), binary);
    }
    return path.join(folder, main);
  }

  /** Puts a binary where a build in the package's folder is. */
  addLocalBuild(binary) {
    fs.writeFileSync(path.join(this.folder, `${NAME}.node`), binary);
  }

  /** What requiring the package comes to, in a process of its own. */
  require({ flags = [], before = "" } = {}) {
    const preload = path.join(this.#folder, "before.js");
    fs.writeFileSync(preload, before);
    const args = [...flags, "--require", preload, path.join(this.#folder, "program.js")];
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, {
      encoding: "utf8",
      // Its dependencies are this repository's.
      env: { ...process.env, NODE_PATH: path.join(ROOT, "node_modules") },
    });
    if (status !== 0) {
      throw new Error(`The process ended with ${signal ?? status}: ${stderr}`);
    }
    return JSON.parse(stdout);
  }

  remove() {
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }
}

module.exports = { InstalledPackage };
