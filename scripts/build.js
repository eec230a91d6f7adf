"use strict";

// Builds the addon for one target: `npm run build`, and what `npm run pack` packs.

const { execFileSync, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { requireRust } = require("./rust");
const { installToolchain } = require("./toolchain");

const ROOT = path.join(__dirname, "..");
const LOCAL_BUILD = path.join(ROOT, "medusa-idempotency-key.node");
const TARGET = path.join(ROOT, "target");
const CARGO = ["rustc", "--release", "--locked", "--lib", "--crate-type", "cdylib"];

/** The target that Rust builds for on this machine. */
function hostTriple() {
  requireRust();
  return /^host: (.+)$/m.exec(execFileSync("rustc", ["-vV"], { cwd: ROOT, encoding: "utf8" }))[1];
}

/**
 * Builds the addon.
 *
 * @param {string} triple the Rust target
 * @param {{ portable?: boolean }} [options] `portable` refuses to link with this machine's own glibc
 * @returns {string} the file
 */
function build(triple, { portable = false } = {}) {
  const env = { ...process.env, ...environmentFor(triple, portable) };
  const args = [...CARGO, "--target", triple, "--target-dir", TARGET];
  const { status, error } = spawnSync("cargo", args, { cwd: ROOT, env, stdio: ["ignore", 2, 2] });
  if (status !== 0) {
    throw error ?? new Error(`cargo ${args.join(" ")} failed`);
  }
  return path.join(TARGET, triple, "release", libraryFor(triple));
}

function libraryFor(triple) {
  if (triple.includes("windows")) {
    return "medusa_idempotency_key.dll";
  }
  return `libmedusa_idempotency_key.${triple.includes("apple") ? "dylib" : "so"}`;
}

function environmentFor(triple, portable) {
  if (triple.endsWith("-linux-musl")) {
    // An addon shares its process's C library.
    return rustFlags(["-C", "target-feature=-crt-static"]);
  }
  if (!triple.endsWith("-linux-gnu")) {
    return {};
  }
  const toolchain = findToolchain(triple, portable);
  return toolchain ? oldSystem(triple, toolchain) : {};
}

function findToolchain(triple, portable) {
  const doWithout = (reason) => {
    if (portable) {
      throw new Error(`The addon cannot be linked for older systems: ${reason}`);
    }
    console.error(`> linking for systems like this one only: ${reason}`);
  };
  try {
    return installToolchain(triple) ?? doWithout(`no linker is known here for ${triple}`);
  } catch (error) {
    return doWithout(error.message);
  }
}

/** Links with an old glibc, and with what libgcc_s.so holds, which slim images lack. */
function oldSystem(triple, toolchain) {
  const tool = (name) => path.join(toolchain, "bin", `${triple}-${name}`);
  const name = triple.replaceAll("-", "_");
  return {
    [`CC_${name}`]: tool("gcc"),
    [`AR_${name}`]: tool("ar"),
    [`CARGO_TARGET_${name.toUpperCase()}_LINKER`]: tool("gcc"),
    ...rustFlags([...withoutLld(triple), "-L", `native=${staticLibgcc(toolchain)}`]),
  };
}

/** Rust's default on x64 only, where the old compiler does not know it. */
function withoutLld(triple) {
  return triple.startsWith("x86_64-") ? ["-C", "linker-features=-lld"] : [];
}

/** A folder whose libgcc_s.so stands for the static library. */
function staticLibgcc(toolchain) {
  const folder = path.join(toolchain, "static-libgcc");
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "libgcc_s.so"), "INPUT(-lgcc_eh)\n");
  return folder;
}

/** Encoded, so that a path may have spaces in it. */
function rustFlags(list) {
  const given = process.env.RUSTFLAGS?.split(/\s+/) ?? [];
  return { CARGO_ENCODED_RUSTFLAGS: [...given, ...list].filter(Boolean).join("\x1f") };
}

/** Puts a built addon where `lib/bridge/binding.js` looks for one in a clone. */
function install(file) {
  // Under another name first: a process that has loaded the old file keeps it.
  const unfinished = `${LOCAL_BUILD}-${process.pid}`;
  fs.copyFileSync(file, unfinished);
  fs.renameSync(unfinished, LOCAL_BUILD);
}

module.exports = { LOCAL_BUILD, build, hostTriple, install };

if (require.main === module) {
  try {
    install(build(hostTriple()));
  } catch (error) {
    console.error(`> ${error.message}`);
    process.exitCode = 1;
  }
}
