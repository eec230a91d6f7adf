"use strict";

const fs = require("node:fs");
const path = require("node:path");

const ROOT = path.join(__dirname, "../..");
/** Folders of Markdown documents: of this package, not of what is installed. */
const FOLDERS = ["", "docs", "docs/frameworks", ".github", "examples/medusa-v1"];
const FENCE = /^(\s*)(`{3,}|~{3,})\s*([^\s`]*)/;

/** @returns {string[]} the names of all documents, from the repository's root */
function documentNames() {
  return FOLDERS.flatMap((folder) =>
    fs
      .readdirSync(path.join(ROOT, folder))
      .filter((file) => file.endsWith(".md"))
      .map((file) => path.posix.join(folder, file)),
  );
}

/**
 * The blocks of code in a document. An indented block loses its indentation.
 *
 * @param {string} name
 * @returns {{ name: string, line: number, language: string, code: string, marker?: string }[]} `marker`: the text
 *   of the comment before the block
 */
function blocksOf(name) {
  return parse(name).blocks;
}

/** A document's lines outside of its blocks of code, without code in backticks. */
function proseOf(name) {
  return parse(name).prose.map((line) => line.replaceAll(/(`+)(?:(?!\1).)+\1/g, ""));
}

function parse(name) {
  const blocks = [];
  const prose = [];
  let open;
  for (const [index, line] of linesOf(name).entries()) {
    const [, indent, fence, language] = FENCE.exec(line) ?? [];
    if (open && fence === open.fence && language === "") {
      blocks.push({ ...open.block, code: open.lines.map((each) => `${each}\n`).join("") });
      open = undefined;
    } else if (open) {
      open.lines.push(line.slice(open.indent.length));
    } else if (fence) {
      const marker = markerOf(prose);
      open = { fence, indent, lines: [], block: { name, line: index + 1, language, marker } };
    } else {
      prose.push(line);
    }
  }
  if (open) {
    throw new Error(`${name}:${open.block.line}: the block of code does not end`);
  }
  return { blocks, prose };
}

/** The comment that the prose so far ends with. */
function markerOf(prose) {
  const last = prose.findLast((line) => line.trim() !== "");
  return /^<!-- (.*) -->$/.exec(last ?? "")?.[1];
}

function linesOf(name) {
  return fs.readFileSync(path.join(ROOT, name), "utf8").split("\n");
}

/** @returns {Set<string>} the anchors that GitHub gives a document's headings */
function anchorsOf(name) {
  const headings = parse(name).prose.flatMap((line) => /^#+ (.*)/.exec(line)?.[1] ?? []);
  const slugs = headings.map((heading) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replaceAll(" ", "-"),
  );
  return new Set(slugs);
}

/** @returns {string[]} the targets of a document's links and pictures */
function linksOf(name) {
  const text = proseOf(name).join("\n");
  const inline = [...text.matchAll(/\]\(([^()\s]+)\)/g)];
  const references = [...text.matchAll(/^\[[^\]]+\]:\s*(\S+)/gm)];
  return [...inline, ...references].map(([, target]) => target);
}

module.exports = { ROOT, anchorsOf, blocksOf, documentNames, linksOf };
