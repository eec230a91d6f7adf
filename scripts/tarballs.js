"use strict";

// Which of a release's tarballs are for this machine.

const fs = require("node:fs");
const path = require("node:path");
const { name } = require("../package.json");
const { PLATFORMS } = require("./platforms");

/** The name of this machine's platform package, without the main package's. */
function platform() {
  const system = `${process.platform}-${process.arch}`;
  const names = Object.keys(PLATFORMS).filter((each) => each.startsWith(system));
  const libc = process.report.getReport().header.glibcVersionRuntime ? "gnu" : "musl";
  const found = names.length > 1 ? names.find((each) => each.endsWith(libc)) : names[0];
  if (!found) {
    throw new Error(`there is no package for ${system}`);
  }
  return found;
}

/**
 * The tarballs in a folder that this machine installs: the main package's and its platform's.
 *
 * @param {string} folder
 * @returns {string[]} absolute paths
 */
function tarballsFor(folder) {
  const packages = [`${name}-${platform()}`, name];
  return packages.map((each) => {
    const pattern = new RegExp(`^${each}-\\d.*\\.tgz$`);
    const file = fs.readdirSync(folder).find((candidate) => pattern.test(candidate));
    if (!file) {
      throw new Error(`there is no tarball of ${each} in ${folder}`);
    }
    return path.resolve(folder, file);
  });
}

module.exports = { tarballsFor };
