"use strict";

// The snippets of docs/install.md are lines of the projects that are tested.

const fs = require("node:fs");
const path = require("node:path");

const ROOT = path.join(__dirname, "..");
const PAGE = fs.readFileSync(path.join(ROOT, "docs/install.md"), "utf8");
const SNIPPET = /(?:<!-- (\S+) -->\n\n)?```\w+\n([^]*?)\n```/g;

const snippets = [...PAGE.matchAll(SNIPPET)].map(([, file, code]) => ({ file, code }));
const projects = fs.readdirSync(path.join(ROOT, "__test__/projects"));

/** Without the indentation, and as JSON has it. */
function plain(text) {
  return text
    .replaceAll('\\"', '"')
    .split("\n")
    .map((line) => line.trim())
    .join("\n");
}

test("there are snippets", () => {
  expect(snippets.length).toBeGreaterThan(5);
});

test.each(snippets)("what is shown of $file is in it", ({ file, code }) => {
  expect(file).toMatch(/^__test__\/projects\//);
  expect(projects).toContain(file.split("/")[2]);
  expect(plain(fs.readFileSync(path.join(ROOT, file), "utf8"))).toContain(plain(code));
});
