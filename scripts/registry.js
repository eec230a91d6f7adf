"use strict";

// What a release asks of npm's registry.

const { spawnSync } = require("node:child_process");

/**
 * The integrity that a version is published with.
 *
 * @returns {string | undefined} undefined if it is not published
 */
function publishedIntegrity(name, version) {
  const { status, error, stdout, stderr } = npm(["view", `${name}@${version}`, "--json"]);
  if (status === 0) {
    // npm answers nothing where the package is there without this version.
    return stdout.trim() === "" ? undefined : JSON.parse(stdout).dist.integrity;
  }
  if (!error && /\bE404\b/.test(stdout + stderr)) {
    return undefined;
  }
  throw error ?? new Error(`npm view ${name}@${version} failed: ${stderr.trim()}`);
}

/** Publishes a tarball, with a statement of where it was built, if this is the place to make one. */
function publish(file, distTag, dryRun) {
  const provenance = process.env.GITHUB_ACTIONS === "true" && !dryRun ? ["--provenance"] : [];
  const options = ["--access", "public", "--tag", distTag, "--ignore-scripts", ...provenance];
  const args = ["publish", file, ...options, ...(dryRun ? ["--dry-run"] : [])];
  const { status, error } = npm(args, { stdio: "inherit" });
  if (status !== 0) {
    throw error ?? new Error(`npm ${args.join(" ")} failed`);
  }
}

function npm(args, options) {
  return spawnSync("npm", args, { encoding: "utf8", ...options });
}

module.exports = { publish, publishedIntegrity };
