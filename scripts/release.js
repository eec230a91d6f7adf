"use strict";

// Checks and publishes the tarballs of a release:
//
//   node scripts/release.js check FOLDER [--tag vX.Y.Z]
//   node scripts/release.js publish FOLDER [--tag vX.Y.Z] [--dry-run]
//
// FOLDER has the main package's tarball and one for each platform. All of them are checked before any
// is published, and the main one goes last: nobody can install a version whose platforms are missing.
// What is published already is passed over if it is the same, so a release that broke off can be
// started again with the same tarballs.

const { parseArgs } = require("node:util");
const { problemsOf, readTarballs } = require("./release-checks");
const { publishedIntegrity, publish } = require("./registry");

function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { tag: { type: "string" }, "dry-run": { type: "boolean", default: false } },
  });
  const [command, folder] = positionals;
  if (!["check", "publish"].includes(command) || !folder) {
    throw new Error("usage: release.js check|publish FOLDER [--tag vX.Y.Z] [--dry-run]");
  }
  const tarballs = checked(folder, values.tag);
  if (command === "publish") {
    publishAll(tarballs, values["dry-run"]);
  }
}

/** The tarballs of a release, the main package's last. */
function checked(folder, tag) {
  const tarballs = readTarballs(folder);
  const problems = problemsOf(tarballs, tag);
  if (problems.length > 0) {
    throw new Error(`this is no release:\n${problems.map((problem) => `- ${problem}`).join("\n")}`);
  }
  for (const { manifest, integrity, size } of tarballs) {
    console.log(`${manifest.name}@${manifest.version} ${size} bytes ${integrity}`);
  }
  return tarballs;
}

/** Publishes what is not published yet, once it is known that all of it can be. */
function publishAll(tarballs, dryRun) {
  const missing = tarballs.filter((tarball) => !isPublished(tarball, dryRun));
  for (const { file, manifest } of missing) {
    console.log(`> ${dryRun ? "trying" : "publishing"} ${manifest.name}@${manifest.version}`);
    publish(file, distTag(manifest.version), dryRun);
  }
}

/**
 * @throws {Error} when it is published with another content, which can never be replaced. Between two
 *   releases that is so, and a dry run passes it over.
 */
function isPublished({ manifest: { name, version }, integrity }, dryRun) {
  const published = publishedIntegrity(name, version);
  if (published === undefined || published === integrity) {
    return published === integrity;
  }
  const problem = `${name}@${version} is published with another content (${published})`;
  if (!dryRun) {
    throw new Error(
      `${problem}: start the failed jobs of the run again that published it, whose tarballs are the ` +
        "same, or raise the version",
    );
  }
  console.log(`> ${problem}: the version has to be raised before the next release`);
  return true;
}

/** Who installs without a version gets no pre-release. */
function distTag(version) {
  return version.includes("-") ? "next" : "latest";
}

try {
  main();
} catch (error) {
  console.error(`> ${error.message}`);
  process.exitCode = 1;
}
