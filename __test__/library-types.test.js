"use strict";

// What callbacks get, inferred from what a service is given: with the declarations of the libraries themselves.

const path = require("node:path");
const { runNode } = require("./helpers/projects");

const TSC = require.resolve("typescript/package.json").replace("package.json", "bin/tsc");
/** On a busy machine. */
const COMPILE_TIMEOUT = 120_000;

test.each(["newest", "previous"])(
  "the callbacks' handles are inferred: %s",
  async (folder) => {
    const cwd = path.join(__dirname, "libraries", folder);
    const { code, output } = await runNode([TSC, "-p", "."], { cwd });
    expect({ code, output }).toEqual({ code: 0, output: "" });
  },
  COMPILE_TIMEOUT,
);
