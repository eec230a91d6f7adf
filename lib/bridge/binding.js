"use strict";

// Loads the native addon: from this platform's package, else from a build in this folder. A clone has
// no platform packages, and where one is installed nobody builds, so that the two do not meet.

const fs = require("node:fs");
const path = require("node:path");
const { version } = require("../../package.json");
const { faultOf } = require("./binary-format");
const { missing, otherVersion, refused, unsupported, unusable } = require("./binding-errors");
const { mayJoinEventLoop } = require("./event-loop");
const { currentPlatform } = require("./platform");

/** Names written out, so that tools which trace a program's files find them. */
const PACKAGES = {
  "darwin-arm64": () => require.resolve("medusa-idempotency-key-darwin-arm64"),
  "darwin-x64": () => require.resolve("medusa-idempotency-key-darwin-x64"),
  "linux-arm64-gnu": () => require.resolve("medusa-idempotency-key-linux-arm64-gnu"),
  "linux-arm64-musl": () => require.resolve("medusa-idempotency-key-linux-arm64-musl"),
  "linux-x64-gnu": () => require.resolve("medusa-idempotency-key-linux-x64-gnu"),
  "linux-x64-musl": () => require.resolve("medusa-idempotency-key-linux-x64-musl"),
  "win32-arm64-msvc": () => require.resolve("medusa-idempotency-key-win32-arm64-msvc"),
  "win32-x64-msvc": () => require.resolve("medusa-idempotency-key-win32-x64-msvc"),
};
const LOCAL_BUILD = path.join(__dirname, "../..", "medusa-idempotency-key.node");

function load() {
  const platform = currentPlatform();
  const file = find(platform);
  const fault = faultOf(file, platform);
  if (fault) {
    throw unusable(platform, file, fault);
  }
  const binding = open(platform, file);
  if (binding.VERSION !== version) {
    throw otherVersion(platform, file, { expected: version, found: binding.VERSION });
  }
  return binding;
}

function find(platform) {
  const { file, error } = resolved(platform.name);
  if (file) {
    return file;
  }
  if (fs.existsSync(LOCAL_BUILD)) {
    return LOCAL_BUILD;
  }
  const supported = Object.keys(PACKAGES);
  if (!supported.includes(platform.name)) {
    throw unsupported(platform, supported);
  }
  const others = supported.filter((name) => resolved(name).file);
  throw missing(platform, others, error);
}

function resolved(name) {
  try {
    return { file: PACKAGES[name]?.() };
  } catch (error) {
    return { error };
  }
}

function open(platform, file) {
  try {
    return require(file);
  } catch (error) {
    throw refused(platform, file, error);
  }
}

const binding = load();
if (mayJoinEventLoop()) {
  binding.joinEventLoop();
}

module.exports = binding;
