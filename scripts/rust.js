"use strict";

// Says in a sentence what is missing where Rust is not as the crate needs it.

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const ROOT = path.join(__dirname, "..");
const INSTALL = "install it from https://rustup.rs";

/** Ends the process unless there is a Rust that can build the crate. */
function requireRust() {
  const problem = problemWithRust();
  if (problem) {
    console.error(`> ${problem}`);
    process.exit(1);
  }
}

/** @returns {string | undefined} a sentence that says what to do */
function problemWithRust() {
  const needed = neededVersion();
  for (const command of ["cargo", "rustc"]) {
    const { status, error, stdout, stderr } = spawnSync(command, ["--version"], {
      cwd: ROOT,
      encoding: "utf8",
    });
    if (error) {
      return `Rust ${needed} or newer is needed and ${command} was not found: ${INSTALL}.`;
    }
    if (status !== 0) {
      return sentenceFor(stderr, command, needed);
    }
    const found = /\d+\.\d+/.exec(stdout)?.[0];
    if (found && isOlder(found, needed)) {
      return `Rust ${needed} or newer is needed and ${command} is ${found}: run "rustup update stable", or ${INSTALL}.`;
    }
  }
  return undefined;
}

function sentenceFor(stderr, command, needed) {
  if (/rustup|toolchain/.test(stderr)) {
    return `Rust ${needed} or newer is needed and rustup has no toolchain: run "rustup default stable".`;
  }
  const [reason = "no reason given"] = stderr.split("\n").filter(Boolean);
  return `Rust ${needed} or newer is needed and ${command} does not run (${reason}): ${INSTALL}.`;
}

function neededVersion() {
  const manifest = fs.readFileSync(path.join(ROOT, "Cargo.toml"), "utf8");
  return /^rust-version = "(\d+\.\d+)/m.exec(manifest)[1];
}

function isOlder(found, needed) {
  const [foundMajor, foundMinor] = found.split(".").map(Number);
  const [neededMajor, neededMinor] = needed.split(".").map(Number);
  return foundMajor < neededMajor || (foundMajor === neededMajor && foundMinor < neededMinor);
}

module.exports = { requireRust };

if (require.main === module) {
  requireRust();
}
