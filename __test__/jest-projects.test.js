"use strict";

// A user's project that tests with Jest: each test runs a real Jest on one of its files.

const fs = require("node:fs");
const { useDatabase } = require("./helpers/database");
const { copyProject, runNode } = require("./helpers/projects");

const JEST = require.resolve("jest/bin/jest");

const database = useDatabase();
let folder;

beforeAll(() => {
  folder = copyProject("jest");
});

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function runJest(...args) {
  const env = { DATABASE_URL: database.url };
  return runNode([JEST, "--runInBand", "--no-cache", ...args], { cwd: folder, env });
}

/** How many tests passed, of how many, by Jest's last lines. */
function counted(output) {
  const [, line] = /^Tests:\s+(.*)$/m.exec(output) ?? [];
  return line;
}

test.each([
  ["with copies of the package that jest.resetModules() makes", "reset-modules", 4],
  ["under timers that were replaced before the package was loaded", "fake-timers-before", 4],
  ["under timers that were replaced afterwards", "fake-timers-after", 4],
])("works %s", async (_, name, tests) => {
  const { output } = await runJest(`${name}.spec.js`);
  expect(counted(output) ?? output).toBe(`${tests} passed, ${tests} total`);
});

test("leaves no handles open", async () => {
  const { code, output } = await runJest("--detectOpenHandles", "open-handles.spec.js");
  expect(output).not.toContain("open handle");
  expect(counted(output) ?? output).toBe("3 passed, 3 total");
  expect(code).toBe(0);
});
