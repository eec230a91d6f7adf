"use strict";

// Has libFuzzer look for input that breaks a property of the engine's pure functions (tests/properties/checks.rs):
// `npm run fuzz -- 600` for ten minutes. It needs a nightly toolchain and cargo-fuzz. What it finds is in
// fuzz/artifacts; what `cargo test` replays is in fuzz/corpus, to which it adds nothing.

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const ROOT = path.join(__dirname, "..");
const SEEDS = path.join(ROOT, "fuzz/corpus/engine");
/** New input that reaches further, kept for the next run. */
const FOUND = path.join(ROOT, "fuzz/target/corpus");
const SECONDS = 60;
/** The longest input in bytes: longer ones reach nothing more. */
const LONGEST = 4096;

/** Whether this machine has what fuzzing needs. */
function canFuzz() {
  return spawnSync("cargo", ["+nightly", "fuzz", "--version"], { cwd: ROOT }).status === 0;
}

/** @returns {number} the exit code: not 0 if something was found */
function fuzz(seconds = SECONDS) {
  // The same versions as the crate's; cargo adds those that only fuzzing needs.
  fs.copyFileSync(path.join(ROOT, "Cargo.lock"), path.join(ROOT, "fuzz/Cargo.lock"));
  fs.mkdirSync(FOUND, { recursive: true });
  // Without sanitizers: there is no `unsafe` here for them to watch.
  const run = ["+nightly", "fuzz", "run", "--sanitizer", "none", "engine", FOUND, SEEDS, "--"];
  const options = [`-max_total_time=${seconds}`, `-max_len=${LONGEST}`, "-timeout=10"];
  const { status } = spawnSync("cargo", [...run, ...options, "-print_final_stats=1"], {
    cwd: ROOT,
    stdio: "inherit",
  });
  return status ?? 1;
}

/** What `npm test` does of it: a minute in CI, or as long as FUZZ_SECONDS says. */
function fuzzInTest() {
  const seconds = Number(process.env.FUZZ_SECONDS ?? (process.env.CI ? SECONDS : 0));
  if (seconds === 0) {
    return 0;
  }
  if (!canFuzz()) {
    console.error("> not fuzzed: there is no nightly toolchain with cargo-fuzz");
    return 0;
  }
  return fuzz(seconds);
}

function main() {
  if (!canFuzz()) {
    console.error(
      '> fuzzing needs a nightly toolchain ("rustup toolchain install nightly") and cargo-fuzz ' +
        '("cargo install cargo-fuzz").',
    );
    process.exitCode = 1;
    return;
  }
  process.exitCode = fuzz(Number(process.argv[2] ?? SECONDS));
}

if (require.main === module) {
  main();
}

module.exports = { fuzzInTest };
