"use strict";

// A linker and libraries of an old system, CentOS 7's glibc 2.17, so that binaries run on every system
// since. It is the npm package that `napi build --use-napi-cross` uses, fetched when it is needed.

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const CACHE = path.join(__dirname, "../node_modules/.cache/medusa-idempotency-key");
/** By the machine that links and the target; npm has checked a package against its registry only. */
const PACKAGES = {
  "x64 x86_64-unknown-linux-gnu": {
    name: "@napi-rs/cross-toolchain-x64-target-x86_64",
    version: "1.0.0",
    integrity:
      "sha512-lecoghCfoTAX9MLFcIx9/nL9M8xdkZ9n8Pki8qjKUNzjiq1zbECdEbzIZAMMHRtrXxifK9dAyYuh8gSxNbr2og==",
  },
  "x64 aarch64-unknown-linux-gnu": {
    name: "@napi-rs/cross-toolchain-x64-target-aarch64",
    version: "1.0.3",
    integrity:
      "sha512-EMFcy/ahFsmCY3BI1tMC3wRUYZ+cDuILg7nP1micaKXW1tO1+RvUB1CC6QYe+cv2W4Tuz9wr3qcFExWyjgWf2w==",
  },
};

/**
 * Installs the toolchain for a target.
 *
 * @param {string} triple
 * @returns {string | undefined} its folder; undefined if there is none for this machine and target
 * @throws {Error} that says why it could not be installed
 */
function installToolchain(triple) {
  const wanted = toolchainOf(triple);
  if (!wanted) {
    return undefined;
  }
  const folder = path.join(CACHE, `toolchain-${triple}-${wanted.version}`);
  if (!fs.existsSync(folder)) {
    console.error(`> fetching the linker for ${triple} (once)`);
    fs.mkdirSync(CACHE, { recursive: true });
    const unfinished = fs.mkdtempSync(path.join(CACHE, "unfinished-"));
    try {
      unpack(fetch(wanted, unfinished), unfinished, folder);
    } finally {
      fs.rmSync(unfinished, { recursive: true, force: true });
    }
  }
  return folder;
}

/** The toolchain for a target on this machine, if there is one. */
function toolchainOf(triple) {
  return process.platform === "linux" ? PACKAGES[`${process.arch} ${triple}`] : undefined;
}

function fetch({ name, version, integrity }, into) {
  const printed = run("npm", ["pack", `${name}@${version}`, "--json", "--silent"], into);
  const [packed] = JSON.parse(printed);
  if (packed.integrity !== integrity) {
    throw new Error(
      `${name}@${version} is not the package that was checked in: ${packed.integrity}`,
    );
  }
  return path.join(into, packed.filename);
}

function unpack(tarball, into, folder) {
  run("tar", ["-xzf", tarball], into);
  const packed = path.join(into, "package");
  const archive = fs.readdirSync(packed).find((file) => file.endsWith(".tar.xz"));
  const unpacked = path.join(into, "toolchain");
  fs.mkdirSync(unpacked);
  // Needs xz, which minimal systems lack.
  run("tar", ["-xJf", path.join(packed, archive)], unpacked);
  fs.renameSync(unpacked, folder);
}

function run(command, args, cwd) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (status !== 0) {
    throw new Error(`${command} ${args[0]} failed: ${(error?.message ?? stderr).trim()}`);
  }
  return stdout;
}

module.exports = { installToolchain, toolchainOf };
