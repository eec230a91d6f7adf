"use strict";

// The platforms that have a package of their own: how Rust names them, and what npm matches them by.

const PLATFORMS = {
  "darwin-arm64": { triple: "aarch64-apple-darwin", os: "darwin", cpu: "arm64" },
  "darwin-x64": { triple: "x86_64-apple-darwin", os: "darwin", cpu: "x64" },
  "linux-arm64-gnu": {
    triple: "aarch64-unknown-linux-gnu",
    os: "linux",
    cpu: "arm64",
    libc: "glibc",
  },
  "linux-arm64-musl": {
    triple: "aarch64-unknown-linux-musl",
    os: "linux",
    cpu: "arm64",
    libc: "musl",
  },
  "linux-x64-gnu": { triple: "x86_64-unknown-linux-gnu", os: "linux", cpu: "x64", libc: "glibc" },
  "linux-x64-musl": { triple: "x86_64-unknown-linux-musl", os: "linux", cpu: "x64", libc: "musl" },
  "win32-arm64-msvc": { triple: "aarch64-pc-windows-msvc", os: "win32", cpu: "arm64" },
  "win32-x64-msvc": { triple: "x86_64-pc-windows-msvc", os: "win32", cpu: "x64" },
};

/** The platform of a Rust target; undefined if it has no package. */
function platformOf(triple) {
  const [name] = Object.entries(PLATFORMS).find(([, platform]) => platform.triple === triple) ?? [];
  return name;
}

module.exports = { PLATFORMS, platformOf };
