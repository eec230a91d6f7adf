"use strict";

// A strict TypeScript project on Medusa v1, under each way in which compilers find declarations.

const fs = require("node:fs");
const path = require("node:path");
const { EXAMPLE } = require("./helpers/medusa-installed");
const { copyProject, runNode } = require("./helpers/projects");

const ROOT = path.join(__dirname, "..");
const INSTALLED = path.join(EXAMPLE, "node_modules");
const DECLARATIONS = /^package\.json$|\.d\.m?ts$/;

/** On a busy machine. */
const COMPILE_TIMEOUT = 120_000;

/** TypeScript 7 knows `node10` no more; Medusa v1 projects use it. */
const COMPILERS = {
  "TypeScript 5": path.join(INSTALLED, "typescript/lib/tsc.js"),
  "TypeScript 7": require.resolve("typescript/package.json").replace("package.json", "bin/tsc"),
};

let folder;

beforeAll(() => {
  folder = copyProject("typescript");
  const modules = path.join(folder, "node_modules");
  // Not as a link, beside which a compiler would not find the project's Medusa.
  const ours = path.join(modules, "medusa-idempotency-key");
  fs.rmSync(ours);
  fs.mkdirSync(ours);
  for (const name of fs.readdirSync(ROOT).filter((file) => DECLARATIONS.test(file))) {
    fs.copyFileSync(path.join(ROOT, name), path.join(ours, name));
  }
  for (const name of ["@medusajs", "@types", "typeorm"]) {
    fs.symlinkSync(path.join(INSTALLED, name), path.join(modules, name), "junction");
  }
});

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test.each([
  ["node16", "TypeScript 5"],
  ["node16", "TypeScript 7"],
  ["bundler", "TypeScript 5"],
  ["bundler", "TypeScript 7"],
  ["node10", "TypeScript 5"],
])(
  "a project compiles under moduleResolution %s with %s",
  async (resolution, compiler) => {
    const args = [COMPILERS[compiler], "-p", `tsconfig.${resolution}.json`];
    const { code, output } = await runNode(args, { cwd: folder });
    expect({ code, output }).toEqual({ code: 0, output: "" });
  },
  COMPILE_TIMEOUT,
);
