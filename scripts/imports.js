"use strict";

// Which files of a tree import which: JavaScript by `require`, Rust by `use` and by paths. Both are read
// as Prettier and rustfmt leave them, so that a comment has lines of its own.

const fs = require("node:fs");
const path = require("node:path");

/** Rust's `mod name;`, `use tree;`, and a path that begins in the crate. */
const CHILD = /^[ ]*(?:pub(?:\([^)]*\))? )?mod (\w+);/gm;
const USE = /^([ ]*)(?:pub(?:\([^)]*\))? )?use ([^;]+);/gm;
const PATH = /(?<![\w:])(?:crate|super|self)(?:::\w+)+/g;

/**
 * @typedef {object} Import
 * @property {string} from a file, relative to the root
 * @property {number} line where it imports
 * @property {string} to the file that it imports
 */

/**
 * @param {string} root
 * @param {string} folder of the root
 * @returns {string[]} its JavaScript or Rust files, relative to the root, with slashes
 */
function filesOf(root, folder) {
  return fs
    .readdirSync(path.join(root, folder), { recursive: true })
    .filter((file) => /\.(js|rs)$/.test(file))
    .map((file) => `${folder}/${file.replaceAll(path.sep, "/")}`)
    .sort();
}

/** @returns {Import[]} */
function importsOf(root, files) {
  const known = new Set(files);
  return files.flatMap((from) => {
    const text = fs.readFileSync(path.join(root, from), "utf8");
    const found = from.endsWith(".rs")
      ? rustImports(text, from, known)
      : requires(text, from, known);
    return found.filter(({ to }) => to !== from).map(({ line, to }) => ({ from, line, to }));
  });
}

function requires(text, from, known) {
  return withoutComments(text).flatMap((code, index) =>
    [...code.matchAll(/\b(?:require|import)\(\s*["'](\.[^"']*)["']/g)].flatMap(([, specifier]) => {
      const target = path.posix.join(path.posix.dirname(from), specifier);
      const to = [target, `${target}.js`, `${target}/index.js`].find((file) => known.has(file));
      return to ? [{ line: index + 1, to }] : [];
    }),
  );
}

/** The lines, those of comments empty. */
function withoutComments(text) {
  return text.split("\n").map((line) => (/^\s*(\/\/|\/\*|\*)/.test(line) ? "" : line));
}

/** What tests of a module import is not what the module does. */
function rustImports(text, from, known) {
  const code = withoutTests(withoutComments(text)).join("\n");
  const children = [...code.matchAll(CHILD)].map(([, name]) => name);
  const found = new Map();
  for (const { segments, offset } of pathsIn(code)) {
    const target = absolute(segments, moduleOf(from), children);
    const to = target && fileOf(target, from.split("/")[0], known);
    const line = code.slice(0, offset).split("\n").length;
    if (to) {
      found.set(`${line} ${to}`, { line, to });
    }
  }
  return [...found.values()];
}

/** The paths that the code names, each as its segments: in `use` and elsewhere. */
function pathsIn(code) {
  const used = [...code.matchAll(USE)].flatMap(({ 1: indent, 2: tree, index }) =>
    leaves(tree).map((segments) => ({ segments, offset: index + indent.length })),
  );
  const named = [...code.matchAll(PATH)].map(({ 0: all, index }) => ({
    segments: all.split("::"),
    offset: index,
  }));
  return [...used, ...named];
}

/** Unit tests end their file's module at the margin. */
function withoutTests(lines) {
  let inTests = false;
  return lines.map((line, index) => {
    inTests ||= line === "#[cfg(test)]" && /^mod \w+ \{/.test(lines[index + 1] ?? "");
    const kept = inTests ? "" : line;
    inTests &&= line !== "}";
    return kept;
  });
}

/** The paths of a `use` tree, each as its segments. */
function leaves(tree) {
  const text = tree.replace(/\s+/g, " ").trim();
  const open = text.indexOf("{");
  if (open === -1) {
    return [text.replace(/ as \w+$/, "").split("::")];
  }
  const before = text.slice(0, open).split("::").filter(Boolean);
  return parts(text.slice(open + 1, text.lastIndexOf("}"))).flatMap((part) =>
    leaves(part).map((leaf) => [...before, ...leaf]),
  );
}

/** Splits at the commas that are in no braces. */
function parts(text) {
  const found = [""];
  let depth = 0;
  for (const character of text) {
    depth += { "{": 1, "}": -1 }[character] ?? 0;
    if (character === "," && depth === 0) {
      found.push("");
    } else {
      found[found.length - 1] += character;
    }
  }
  return found.map((part) => part.trim()).filter(Boolean);
}

/** The module's segments within the crate: `src/a/mod.rs` and `src/a.rs` are `a`. */
function moduleOf(file) {
  const segments = file
    .replace(/^[^/]*\//, "")
    .replace(/\.rs$/, "")
    .split("/");
  return ["mod", "lib"].includes(segments.at(-1)) ? segments.slice(0, -1) : segments;
}

/** A path from the crate's root; nothing, if it leads out of the crate. */
function absolute([first, ...rest], module, children) {
  if (first === "crate") {
    return rest;
  }
  if (first === "super") {
    const parent = module.slice(0, -1);
    return rest[0] === "super" ? absolute(rest, parent, []) : [...parent, ...rest];
  }
  if (first === "self") {
    return [...module, ...rest];
  }
  return children.includes(first) ? [...module, first, ...rest] : undefined;
}

/** The file of the innermost module that a path names. */
function fileOf(segments, crate, known) {
  for (let length = segments.length; length > 0; length -= 1) {
    const module = `${crate}/${segments.slice(0, length).join("/")}`;
    const file = [`${module}.rs`, `${module}/mod.rs`].find((candidate) => known.has(candidate));
    if (file) {
      return file;
    }
  }
  return undefined;
}

module.exports = { filesOf, importsOf };
