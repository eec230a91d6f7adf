"use strict";

const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const EXAMPLES = path.join(__dirname, "../examples");

/**
 * Copies what git has of an example: not what is installed or built there.
 *
 * @param {string} name
 * @param {string} folder where to
 */
function copyExample(name, folder) {
  const example = path.join(EXAMPLES, name);
  const options = { cwd: example, encoding: "utf8" };
  for (const file of execFileSync("git", ["ls-files"], options).trim().split("\n")) {
    fs.cpSync(path.join(example, file), path.join(folder, file));
  }
}

module.exports = { copyExample };
