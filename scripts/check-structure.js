"use strict";

// Whether the tree is built as CONTRIBUTING.md says: no import points up or in a circle, and no file and
// no function is too long to be read at once.

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { Linter } = require("eslint");
const { filesOf, importsOf } = require("./imports");

const ROOT = path.join(__dirname, "..");

/**
 * The layers of each folder, from the bottom to the top: files and folders in it. What is in one of them
 * may import what is in it and below it. Those in one line know nothing of each other.
 */
const LAYERS = {
  lib: [
    // Errors show a key without its scope.
    ["values/scoped-keys.js"],
    ["conformance", "errors"],
    ["values"],
    ["bridge"],
    ["database", "handles"],
    ["places"],
    ["request"],
    ["http"],
    ["options.js"],
    ["service.js"],
  ],
  src: [
    ["engine/error.rs", "engine/timestamp.rs"],
    ["engine/key.rs"],
    // What has to happen: it knows no SQL and no driver.
    ["engine/protocol"],
    ["engine/sql"],
    ["engine/postgres"],
    ["engine/execution"],
    ["engine/mod.rs"],
    ["node"],
    ["lib.rs"],
  ],
};

const LONGEST_FILE = 300;
/** That of Rust's functions is in clippy.toml, where comments and empty lines do not count. */
const LONGEST_FUNCTION = 40;
/** How a file says why it is better whole, in the comment at its top. */
const WHOLE = /^(?:\/\/[/!]?|\s*\/?\*+) Whole: \S/;
const NO_REASON =
  'does not say why it is better whole: give the exception a reason ("-- …" or reason = "…")';

/**
 * @param {{ root?: string, layers?: typeof LAYERS }} [options]
 * @returns {string[]} what is wrong with the files, each with its place
 */
function structureProblems({ root = ROOT, layers = LAYERS } = {}) {
  return Object.entries(layers).flatMap(([folder, ranks]) => {
    const files = filesOf(root, folder);
    const imports = importsOf(root, files);
    const layerOf = layersOf(folder, ranks);
    return [
      ...files.filter((file) => !layerOf(file)).map((file) => `${file}: is in no layer of LAYERS`),
      ...imports.flatMap((each) => direction(each, layerOf)),
      ...circles(files, imports),
      ...files.flatMap((file) => [...fileLength(root, file), ...silentExceptions(root, file)]),
    ];
  });
}

/** Finds the layer of a file, that of the longest name that fits. */
function layersOf(folder, ranks) {
  const layers = ranks
    .flatMap((names, rank) => names.map((name) => ({ name, rank })))
    .sort((a, b) => b.name.length - a.name.length);
  return (file) => {
    const inside = file.slice(folder.length + 1);
    const fits = ({ name }) =>
      [name, `${name}.rs`].includes(inside) || inside.startsWith(`${name}/`);
    return layers.find(fits);
  };
}

function direction({ from, line, to }, layerOf) {
  const [importer, imported] = [layerOf(from), layerOf(to)];
  if (!importer || !imported || importer === imported || importer.rank > imported.rank) {
    return [];
  }
  const where = importer.rank === imported.rank ? "beside" : "above";
  return [
    `${from}:${line}: imports ${to}, which is ${where} it (${importer.name}, ${imported.name})`,
  ];
}

/** The shortest circle of each file that is in one, each circle once. */
function circles(files, imports) {
  const next = new Map(files.map((file) => [file, imports.filter(({ from }) => from === file)]));
  const seen = new Set();
  return files.flatMap((file) => {
    const circle = circleOf(file, next);
    const members = circle
      ?.map(({ from }) => from)
      .sort()
      .join();
    if (!circle || seen.has(members)) {
      return [];
    }
    seen.add(members);
    const shown = circle.map(({ from, line }) => `${from}:${line}`).join(" -> ");
    return [`${shown} -> ${file}: is a circle of imports`];
  });
}

/** The imports that lead from a file back to it, as few as can be. */
function circleOf(file, next) {
  const reached = new Set();
  let ways = [[]];
  while (ways.length > 0) {
    const longer = ways.flatMap((way) =>
      next
        .get(way.at(-1)?.to ?? file)
        .filter(({ to }) => !reached.has(to) && reached.add(to))
        .map((each) => [...way, each]),
    );
    const circle = longer.find((way) => way.at(-1).to === file);
    if (circle) {
      return circle;
    }
    ways = longer;
  }
  return undefined;
}

function fileLength(root, file) {
  const lines = fs.readFileSync(path.join(root, file), "utf8").trimEnd().split("\n");
  if (lines.length <= LONGEST_FILE || topComment(lines).some((line) => WHOLE.test(line))) {
    return [];
  }
  return [
    `${file}:1: has ${lines.length} lines, and at most ${LONGEST_FILE} are read at once; split it, or say ` +
      'why it is better whole in a comment at its top: "Whole: …"',
  ];
}

/** Exceptions for a function in Rust that do not say why. */
function silentExceptions(root, file) {
  const text = fs.readFileSync(path.join(root, file), "utf8");
  return [...text.matchAll(/#!?\[(?:allow|expect)\([^\]]*\btoo_many_lines\b[^\]]*\]/g)]
    .filter(([attribute]) => !/\breason = "\S/.test(attribute))
    .map(({ index }) => `${file}:${text.slice(0, index).split("\n").length}: ${NO_REASON}`);
}

function topComment(lines) {
  const end = lines.findIndex((line) => !/^(\/\/|\/\*|\s*\*|["']use strict["'];|\s*$)/.test(line));
  return lines.slice(0, end === -1 ? lines.length : end);
}

/** @returns {string[]} the functions in JavaScript that are too long and do not say why */
function functionProblems({ root = ROOT, folder = "lib" } = {}) {
  const linter = new Linter();
  const config = {
    languageOptions: { sourceType: "commonjs" },
    // Those of other rules are ESLint's own affair.
    linterOptions: { reportUnusedDisableDirectives: "off" },
    rules: { "max-lines-per-function": ["error", { max: LONGEST_FUNCTION }] },
  };
  return filesOf(root, folder).flatMap((file) => {
    const found = linter.verify(fs.readFileSync(path.join(root, file), "utf8"), config);
    const silent = linter
      .getSuppressedMessages()
      .filter(({ suppressions }) => suppressions.every(({ justification }) => !justification));
    return [
      ...found.map(({ line, message }) => `${file}:${line}: ${message}`),
      ...silent.map(({ line }) => `${file}:${line}: ${NO_REASON}`),
    ];
  });
}

/** Clippy tells of Rust's functions itself; `#[expect(clippy::too_many_lines, reason = "…")]` says why. */
function isRustShort() {
  const args = ["clippy", "--quiet", "--lib", "--", "-D", "clippy::too_many_lines"];
  return (
    spawnSync("cargo", args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] }).status === 0
  );
}

function main() {
  const problems = [...structureProblems(), ...functionProblems()];
  problems.forEach((problem) => console.error(problem));
  const isShort = isRustShort();
  if (problems.length > 0 || !isShort) {
    console.error(
      `> ${problems.length} problems in JavaScript and of imports and files, besides Clippy's`,
    );
    process.exitCode = 1;
  }
}

if (require.main === module) {
  main();
}

module.exports = { functionProblems, structureProblems };
