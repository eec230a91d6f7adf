"use strict";

// Raises the version everywhere, as the last step of `npm version`, which has put the new one into
// package.json and package-lock.json. Platform packages take theirs from package.json.

const fs = require("node:fs");
const path = require("node:path");
const { name, version } = require("../package.json");

const ROOT = path.join(__dirname, "..");
const UNRELEASED = "## [Unreleased]";

/** Of each file, what stands before the version. */
const VERSIONS = {
  "Cargo.toml": /(?<=^version = ")[^"]+/m,
  "Cargo.lock": new RegExp(`(?<=^name = "${name}"\\nversion = ")[^"]+`, "m"),
  "examples/medusa-v1/package-lock.json":
    /(?<="\.\.\/\.\.": \{\s+"name": ".*",\s+"version": ")[^"]+/,
};

for (const [file, place] of Object.entries(VERSIONS)) {
  rewrite(file, (text) => replaceOnce(text, place, version));
}
const today = new Date().toISOString().slice(0, 10);
rewrite("CHANGELOG.md", (text) =>
  replaceOnce(text, UNRELEASED, `${UNRELEASED}\n\n## [${version}] - ${today}`),
);

function rewrite(file, change) {
  const location = path.join(ROOT, file);
  const text = fs.readFileSync(location, "utf8");
  try {
    fs.writeFileSync(location, change(text));
  } catch (error) {
    throw new Error(`${file}: ${error.message}`, { cause: error });
  }
}

function replaceOnce(text, place, replacement) {
  if (text.split(place).length === 1) {
    throw new Error("there is no version to raise");
  }
  return text.replace(place, () => replacement);
}
