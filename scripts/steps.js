"use strict";

// What is done before anything else runs, where it is not done yet.

const { spawn, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

/**
 * Says what is done, and runs a command that does it.
 *
 * @param {string} what
 * @param {string} command
 * @param {string[]} args
 * @param {string} folder where
 */
function step(what, command, args, folder) {
  console.error(`\n> ${what}`);
  const { status, error } = spawnSync(command, args, {
    cwd: folder,
    stdio: ["ignore", 2, 2],
    // On Windows npm is a script, which only a shell runs.
    shell: process.platform === "win32" && command === "npm",
  });
  if (status !== 0) {
    const reason = error ? `: ${error.message}` : "";
    throw new Error(`failed: ${command} ${args.join(" ")}${reason}`);
  }
}

/**
 * Runs a command whose output is this process's, and resolves to its exit code.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd: string, env: Record<string, string | undefined> }} options
 * @returns {Promise<number>}
 */
function exitCode(command, args, { cwd, env }) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: "inherit" });
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

/** Whether a file of a folder is there and no older than any of the sources, files or folders in it. */
function isNewer(folder, file, sources) {
  const target = path.join(folder, file);
  if (!fs.existsSync(target)) {
    return false;
  }
  const built = fs.statSync(target).mtimeMs;
  return sources.every((source) => latestChange(path.join(folder, source)) <= built);
}

function latestChange(file) {
  const stat = fs.statSync(file);
  if (!stat.isDirectory()) {
    return stat.mtimeMs;
  }
  const inside = fs.readdirSync(file).map((name) => latestChange(path.join(file, name)));
  return Math.max(...inside);
}

module.exports = { exitCode, isNewer, step };
