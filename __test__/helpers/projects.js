"use strict";

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { text } = require("node:stream/consumers");

const ROOT = path.join(__dirname, "../..");

/**
 * Copies one of `__test__/projects` to a folder of its own, with this package in its `node_modules`.
 *
 * @param {string} name
 * @returns {string} the folder
 */
function copyProject(name) {
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), `project-${name}-`));
  fs.cpSync(path.join(ROOT, "__test__/projects", name), folder, { recursive: true });
  fs.mkdirSync(path.join(folder, "node_modules"));
  fs.symlinkSync(ROOT, path.join(folder, "node_modules/medusa-idempotency-key"), "junction");
  return folder;
}

/**
 * Runs a script of Node's to its end.
 *
 * @param {string[]} args
 * @param {{ cwd: string, env?: Record<string, string> }} options
 * @returns {Promise<{ code: number | null, output: string }>} what it wrote, to both streams
 */
async function runNode(args, { cwd, env }) {
  const child = spawn(process.execPath, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = new Promise((resolve) => child.once("close", resolve));
  const [output, errors, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    exited,
  ]);
  return { code, output: output + errors };
}

module.exports = { copyProject, runNode };
