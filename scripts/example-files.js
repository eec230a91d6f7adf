"use strict";

const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const EXAMPLES = path.join(__dirname, "../examples");

/**
 * @param {string} name of an example
 * @returns {string[]} the files that git has of it: not what is installed or built there
 */
function filesOfExample(name) {
  const options = { cwd: path.join(EXAMPLES, name), encoding: "utf8" };
  return execFileSync("git", ["ls-files"], options).trim().split("\n");
}

/**
 * @param {string} name of an example
 * @param {string} folder where to
 */
function copyExample(name, folder) {
  for (const file of filesOfExample(name)) {
    fs.cpSync(path.join(EXAMPLES, name, file), path.join(folder, file));
  }
}

module.exports = { copyExample, filesOfExample };
