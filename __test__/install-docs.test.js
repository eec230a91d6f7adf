"use strict";

// The snippets of docs/install.md are lines of the projects that are tested.

const fs = require("node:fs");
const path = require("node:path");

const manifest = require("../package.json");
const { ROOT, blocksOf } = require("./helpers/documents");

const [install, ...snippets] = blocksOf("docs/install.md").map(({ marker: file, code }) => ({
  file,
  code: code.trimEnd(),
}));
const projects = fs.readdirSync(path.join(ROOT, "__test__/projects"));

/** Without the indentation, and as JSON has it. */
function plain(text) {
  return text
    .replaceAll('\\"', '"')
    .split("\n")
    .map((line) => line.trim())
    .join("\n");
}

test("there are snippets, and the command that installs the package", () => {
  expect(install.code).toBe(`npm install ${manifest.name}`);
  expect(snippets.length).toBeGreaterThan(5);
});

test.each(snippets)("what is shown of $file is in it", ({ file, code }) => {
  expect(file).toMatch(/^__test__\/projects\//);
  expect(projects).toContain(file.split("/")[2]);
  expect(plain(fs.readFileSync(path.join(ROOT, file), "utf8"))).toContain(plain(code));
});
