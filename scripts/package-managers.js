"use strict";

// How each package manager, and each runtime that has one, installs a project without running install
// scripts, and runs its tests.

const fs = require("node:fs");
const path = require("node:path");

/** Installed from npm into a folder of their own. */
const TOOLS = {
  pnpm: "10.34.9",
  "@yarnpkg/cli-dist": "4.18.1",
  bun: "1.4.5",
  deno: "2.9.6",
};
const NPM_OPTIONS = ["--ignore-scripts", "--no-audit", "--no-fund"];
const IS_WINDOWS = process.platform === "win32";
const NPM = IS_WINDOWS ? "npm.cmd" : "npm";
const pnpm = (tools, hoisting) => {
  const cli = path.join(tools, "pnpm/bin/pnpm.cjs");
  const options = ["--ignore-scripts", "--no-frozen-lockfile", hoisting];
  return {
    install: [process.execPath, cli, "install", "--config.node-linker=isolated", ...options],
    test: [process.execPath, cli, "test"],
  };
};
const yarn = (tools, linker) => {
  const cli = path.join(tools, "@yarnpkg/cli-dist/bin/yarn.js");
  return {
    // Without a lock file of its own a folder is a part of the project around it.
    prepare: (folder) => fs.writeFileSync(path.join(folder, "yarn.lock"), ""),
    install: [process.execPath, cli, "install"],
    test: [process.execPath, cli, "run", "test"],
    env: (registry) => ({
      YARN_ENABLE_IMMUTABLE_INSTALLS: "false",
      YARN_ENABLE_SCRIPTS: "false",
      YARN_ENABLE_TELEMETRY: "false",
      YARN_NODE_LINKER: linker,
      // By itself only where the project's own package.json says "type": "module".
      YARN_PNP_ENABLE_ESM_LOADER: "true",
      YARN_NPM_REGISTRY_SERVER: registry,
      YARN_UNSAFE_HTTP_WHITELIST: "127.0.0.1",
    }),
  };
};

const MANAGERS = {
  npm: () => ({ install: [NPM, "install", ...NPM_OPTIONS], test: [NPM, "test"] }),
  // Nothing hoisted: a package finds only what it depends on.
  pnpm: (tools) => pnpm(tools, "--config.hoist=false"),
  // As it is by default: a package finds all that is installed, the project only what it depends on.
  "pnpm-hoist": (tools) => pnpm(tools, "--config.hoist=true"),
  "yarn-node-modules": (tools) => yarn(tools, "node-modules"),
  "yarn-pnp": (tools) => yarn(tools, "pnp"),
  bun: (tools) => {
    const bun = binary(tools, "@oven", /^bun-/, "bin/bun");
    return {
      install: [bun, "install", "--ignore-scripts"],
      test: [bun, "program.js"],
      env: (registry) => ({ BUN_CONFIG_REGISTRY: registry }),
    };
  },
  deno: (tools) => {
    const deno = binary(tools, "@deno", /^/, "deno");
    return {
      install: [deno, "install", "--quiet"],
      test: [deno, "task", "test:deno"],
      env: (registry) => ({ NPM_CONFIG_REGISTRY: registry, DENO_NO_UPDATE_CHECK: "1" }),
    };
  },
};

/** Of a runtime whose package leaves it to an install script to put its binary in place. */
function binary(tools, scope, pattern, file) {
  const folder = path.join(tools, scope);
  const [name] = fs.readdirSync(folder).filter((each) => pattern.test(each));
  return path.join(folder, name, IS_WINDOWS ? `${file}.exe` : file);
}

module.exports = { MANAGERS, NPM, NPM_OPTIONS, TOOLS };
