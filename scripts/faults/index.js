"use strict";

// The suite of faults: `npm run test:faults -- [--short] [part...]` runs all of its parts or those that are named, and
// prints their figures. A part fails if a promise of the package does not hold under its faults; and it has to fail in
// its control, where something is broken on purpose.

const { parseArgs } = require("node:util");
const { PromiseBroken } = require("./support");

/**
 * Each exports its `name`, its `title` and `run({ full, broken, log })`, which resolves to its figures, by name, and
 * rejects with {@link PromiseBroken} if a promise does not hold; with `broken` it has to. One that takes too long for
 * the short form is `fullOnly`.
 */
const PARTS = [
  "failover",
  "stopped-servers",
  "full-servers",
  "bad-networks",
  "unreachable",
  "killed-processes",
  "killed-medusa",
  "ended-backends",
  "swallowed-errors",
  "role-settings",
  "failing-tables",
  "changed-tables",
  "restricted-roles",
  "memory",
].map((name) => require(`./parts/${name}`));

/** Runs a part's control, which has to fail. */
async function requireFailure(part, options) {
  const failure = await part.run({ ...options, broken: true }).then(
    () => new Error(`${part.name} passes with something broken on purpose`),
    (error) => error,
  );
  if (!(failure instanceof PromiseBroken)) {
    throw failure;
  }
  return failure;
}

async function runPart(part, full) {
  console.log(`\n${part.title}`);
  const log = (line) => console.log(`  ${line}`);
  const failure = await requireFailure(part, { full, log });
  log(`Control: fails, as it has to: ${failure.message}`);
  const begun = performance.now();
  const figures = await part.run({ full, broken: false, log });
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  Object.entries({ ...figures, seconds }).forEach(([name, figure]) => log(`${name}: ${figure}`));
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { short: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  const unknown = positionals.filter((name) => !PARTS.some((part) => part.name === name));
  if (unknown.length > 0) {
    const names = PARTS.map(({ name }) => name).join(", ");
    throw new Error(`There is no part ${unknown.join(", ")}. The parts are: ${names}`);
  }
  const chosen = PARTS.filter(({ name, fullOnly }) =>
    positionals.length === 0 ? !(fullOnly && values.short) : positionals.includes(name),
  );
  const failed = [];
  for (const part of chosen) {
    await runPart(part, !values.short).catch((error) => {
      console.error(error);
      failed.push(part.name);
    });
  }
  if (failed.length > 0) {
    throw new Error(`These parts failed: ${failed.join(", ")}`);
  }
  console.log(`\nAll ${chosen.length} parts passed.`);
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}

module.exports = { PARTS, requireFailure };
