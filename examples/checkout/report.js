"use strict";

// How a demo is played, and how it tells what it has found.

const { elapsed } = require("./timeline");

const INDENT = " ".repeat(10);

/**
 * Prints checks as a table.
 *
 * @param {string} title
 * @param {string[]} columns what the values are of
 * @param {{ name: string, values: unknown[], note: string, passed: boolean }[]} checks
 * @returns {boolean} whether all of them passed
 */
function printChecks(title, columns, checks) {
  const names = checks.map(({ name }) => name);
  // A title with nothing beside it may be longer.
  const wide =
    Math.max(...[...names, columns.length > 0 ? title : ""].map(({ length }) => length)) + 1;
  const row = (values) => values.map((value) => `${value}`.padEnd(15)).join(" ");
  console.log(`\n${INDENT}${title.padEnd(wide)} ${row(columns)}`.trimEnd());
  for (const { name, values, note, passed } of checks) {
    console.log(`        ${passed ? "✓" : "✗"} ${name.padEnd(wide)} ${row(values)} ${note}`);
  }
  return checks.every(({ passed }) => passed);
}

/**
 * Plays a demo to its end; the process fails unless it resolves to true. Ctrl-C ends what is under way,
 * and then the demo as any failure does.
 *
 * @param {(signal: AbortSignal) => Promise<boolean>} demo
 * @param {{ passed: string, failed: string }} sentences
 */
async function playDemo(demo, { passed, failed }) {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"]) {
    process.once(name, () => controller.abort(new Error(`interrupted by ${name}`)));
  }
  const { signal } = controller;
  try {
    if (!(await demo(signal))) {
      throw new Error(`${failed}: see the ✗ above`);
    }
    console.log(`✓ ${passed}, in ${elapsed()}`);
  } catch (error) {
    process.exitCode = 1;
    console.error(`\n✗ the demo failed after ${elapsed()}: ${(signal.reason ?? error).message}`);
  }
}

module.exports = { playDemo, printChecks };
