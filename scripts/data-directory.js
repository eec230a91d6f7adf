"use strict";

// PostgreSQL's data directories. Each is a copy of one that initdb has made and nobody has used:
// copying it takes a quarter of initdb's time.

const { spawnSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const CACHE = path.join(__dirname, "../node_modules/.cache/medusa-idempotency-key");
const OPTIONS = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"];

/**
 * Makes a data directory.
 *
 * @param {string} data where, in a folder that the server's user can enter
 * @param {{ initdb: string, version: string }} binaries
 * @param {{ uid?: number, gid?: number }} user whom the directory belongs to, if not to this process's
 */
function makeDataDirectory(data, binaries, user) {
  const template = path.join(CACHE, templateName(binaries, user));
  if (fs.existsSync(template) && copied(template, data)) {
    return;
  }
  fs.rmSync(data, { recursive: true, force: true });
  initialize(data, binaries, user);
  keepTemplate(data, template);
}

/** What initdb's outcome depends on; it writes the time zone into the configuration. */
function templateName({ version }, user) {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const owner = user.uid ?? process.getuid?.();
  const dependsOn = [process.platform, process.arch, version, owner, timeZone, OPTIONS];
  const digest = createHash("sha256").update(JSON.stringify(dependsOn)).digest("hex");
  return `postgresql-data-${digest.slice(0, 16)}`;
}

function initialize(data, { initdb }, user) {
  const made = spawnSync(initdb, [...OPTIONS, "--no-sync", `--pgdata=${data}`], {
    ...user,
    cwd: "/",
    encoding: "utf8",
  });
  if (made.status !== 0) {
    throw made.error ?? new Error(`initdb failed: ${made.stderr}`);
  }
}

/** Whoever cannot write there does without. */
function keepTemplate(data, template) {
  const unfinished = `${template}-${process.pid}`;
  try {
    fs.mkdirSync(CACHE, { recursive: true });
    if (copied(data, unfinished)) {
      // Else a machine that loses its power now may have a template of empty files afterwards.
      spawnSync("sync");
      fs.renameSync(unfinished, template);
    }
  } catch {
    // Of several who make it at once, the first one's is kept.
  } finally {
    fs.rmSync(unfinished, { recursive: true, force: true });
  }
}

/** `cp` is twice as fast as `fs.cpSync`, and keeps the owner. */
function copied(from, to) {
  return spawnSync("cp", ["-Rp", from, to]).status === 0;
}

module.exports = { makeDataDirectory };
