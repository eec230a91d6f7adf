"use strict";

// What is published: the tarballs that `npm run pack` writes.

const { execFileSync, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const manifest = require("../package.json");
const { currentPlatform } = require("../lib/bridge/platform");
const { readRequirements } = require("../scripts/elf");
const { hostTriple } = require("../scripts/build");
const { PLATFORMS } = require("../scripts/platforms");
const { toolchainOf } = require("../scripts/toolchain");
const { useDatabase } = require("./helpers/database");
const { runNode } = require("./helpers/projects");

const ROOT = path.join(__dirname, "..");
const HERE = currentPlatform().name;
/** No linker for old systems is made for a Linux on arm64, say: what is packed there runs on newer ones. */
const IS_PORTABLE = !HERE.endsWith("-gnu") || toolchainOf(hostTriple()) !== undefined;
const PACK_TIMEOUT = 900_000;
/** Bytes. */
const LARGEST_BINARY = 4_000_000;
const OLDEST_GLIBC = 17;
/** Characters. */
const SHORTEST_NOTICE = 400;
const REGISTRY_TIMEOUT = 60_000;
const INSTALL_TIMEOUT = 120_000;
/** Licences that ask for no more than their notice. */
const LICENCES = [
  "0BSD",
  "Apache-2.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "CDLA-Permissive-2.0",
  "ISC",
  "MIT",
  "Unicode-3.0",
  "Unlicense",
  "Zlib",
];
/** Folders that Medusa's plugin loader reads at a package's root, but for those that it is to read. */
const LOADED_BY_MEDUSA = [
  "dist",
  "jobs",
  "loaders",
  "models",
  "repositories",
  "strategies",
  "subscribers",
  "workflows",
];

const FILES = [
  "CHANGELOG.md",
  "LICENSE",
  "README.md",
  "api/index.js",
  "docs/architecture.md",
  "docs/benchmarks.md",
  "docs/benchmarks.svg",
  "docs/conformance.md",
  "docs/errors.md",
  "docs/exactly-once.md",
  "docs/faq.md",
  "docs/frameworks/express.md",
  "docs/frameworks/fastify.md",
  "docs/frameworks/fetch.md",
  "docs/frameworks/hono.md",
  "docs/frameworks/koa.md",
  "docs/frameworks/nest.md",
  "docs/http.md",
  "docs/install.md",
  "docs/medusa-v1.md",
  "docs/methods.md",
  "docs/options.md",
  "docs/problems.md",
  "docs/requests.svg",
  "docs/retry.svg",
  "docs/scaling.md",
  "docs/standalone.md",
  "docs/transactions.md",
  "index.d.mts",
  "index.d.ts",
  "index.js",
  "index.mjs",
  "lib/bridge/binary-format.js",
  "lib/bridge/binding-errors.js",
  "lib/bridge/binding.js",
  "lib/bridge/calls.js",
  "lib/bridge/event-loop.js",
  "lib/bridge/platform.js",
  "lib/bridge/waiting.js",
  "lib/conformance/cases.js",
  "lib/conformance/check.js",
  "lib/conformance/index.d.ts",
  "lib/conformance/index.js",
  "lib/database/authorities.js",
  "lib/database/connections.js",
  "lib/database/database.js",
  "lib/database/optional-columns.js",
  "lib/database/retention.js",
  "lib/database/tls.js",
  "lib/database/url.js",
  "lib/errors/errors.js",
  "lib/errors/http-errors.js",
  "lib/errors/sql-state.js",
  "lib/errors/table.js",
  "lib/handles/abort.js",
  "lib/handles/drizzle.js",
  "lib/handles/guard.js",
  "lib/handles/index.js",
  "lib/handles/isolation.js",
  "lib/handles/knex.js",
  "lib/handles/kysely.js",
  "lib/handles/mikro-orm.js",
  "lib/handles/own.js",
  "lib/handles/pg.js",
  "lib/handles/postgres-js.js",
  "lib/handles/prisma.js",
  "lib/handles/refusals.js",
  "lib/handles/sequelize.js",
  "lib/handles/statement-errors.js",
  "lib/handles/stepped.js",
  "lib/handles/transaction-manager.js",
  "lib/handles/typeorm-options.js",
  "lib/handles/typeorm.js",
  "lib/http/adapters.d.ts",
  "lib/http/capture.js",
  "lib/http/exchange.js",
  "lib/http/express.d.ts",
  "lib/http/express.js",
  "lib/http/fastify-replies.js",
  "lib/http/fastify.d.ts",
  "lib/http/fastify.js",
  "lib/http/fetch-bodies.js",
  "lib/http/fetch-exchanges.js",
  "lib/http/fetch.d.ts",
  "lib/http/fetch.js",
  "lib/http/handle.js",
  "lib/http/held-response.js",
  "lib/http/held-socket.js",
  "lib/http/hono.d.ts",
  "lib/http/hono.js",
  "lib/http/koa.d.ts",
  "lib/http/koa.js",
  "lib/http/modes.js",
  "lib/http/nest.d.ts",
  "lib/http/nest.js",
  "lib/http/node-answers.js",
  "lib/http/node.js",
  "lib/http/policy.js",
  "lib/http/problem.js",
  "lib/http/request.js",
  "lib/http/setup.js",
  "lib/http/staged-answer.js",
  "lib/http/staged.js",
  "lib/http/stored-answer.js",
  "lib/http/turn.js",
  "lib/http/warnings.js",
  "lib/options.js",
  "lib/places/context.js",
  "lib/places/handle-root.js",
  "lib/places/handle.js",
  "lib/places/index.js",
  "lib/places/own-transaction.js",
  "lib/places/phases.js",
  "lib/places/pool.js",
  "lib/places/refused.js",
  "lib/places/work.js",
  "lib/request/attempt-leases.js",
  "lib/request/attempt.js",
  "lib/request/exactly-once.js",
  "lib/request/fingerprints.js",
  "lib/request/first-stage.js",
  "lib/request/interrupted.js",
  "lib/request/keys.js",
  "lib/request/leases.js",
  "lib/request/medusa.js",
  "lib/request/optional-columns.js",
  "lib/request/overdue.js",
  "lib/request/recovery-points.js",
  "lib/request/request-context.js",
  "lib/request/responses.js",
  "lib/request/run-stages.js",
  "lib/request/semantics.js",
  "lib/request/stage-results.js",
  "lib/request/stages.js",
  "lib/service.js",
  "lib/values/arguments.js",
  "lib/values/container.js",
  "lib/values/durations.js",
  "lib/values/json.js",
  "lib/values/keys.js",
  "lib/values/parameters.js",
  "lib/values/raw.js",
  "lib/values/scoped-keys.js",
  "lib/values/selectors.js",
  "lib/values/shown.js",
  "lib/values/spelling.js",
  "lib/values/times.js",
  "medusa.d.mts",
  "medusa.d.ts",
  "medusa.js",
  "medusa.mjs",
  "migrations/1763769600000-add-request-fingerprint.js",
  "migrations/1764201600000-add-response-headers.js",
  "package.json",
  "services/idempotency-key.js",
];

const database = useDatabase();
let folder;
let main;
let platform;

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "idempotency-packed-"));
  const linker = IS_PORTABLE ? [] : ["--host-linker"];
  const args = [path.join(ROOT, "scripts/pack.js"), "--into", folder, ...linker];
  execFileSync(process.execPath, args, { encoding: "utf8" });
  main = unpack(manifest.name);
  platform = unpack(`${manifest.name}-${HERE}`);
}, PACK_TIMEOUT);

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

describe("the main package", () => {
  test("has these files", () => {
    expect(filesOf(main).sort()).toEqual([...FILES].sort());
  });

  test("has no folder that Medusa loads by accident", () => {
    const loaded = fs.readdirSync(main).filter((name) => LOADED_BY_MEDUSA.includes(name));
    expect(loaded).toEqual([]);
    expect(fs.readdirSync(path.join(main, "services"))).toEqual(["idempotency-key.js"]);
  });

  test("depends on every platform's package in its own version, and runs no script", () => {
    const packed = manifestOf(main);
    const expected = Object.keys(PLATFORMS).map((name) => [
      `${manifest.name}-${name}`,
      manifest.version,
    ]);
    expect(packed.optionalDependencies).toEqual(Object.fromEntries(expected));
    expect(packed.scripts).toBeUndefined();
    expect(packed.devDependencies).toBeUndefined();
    expect(packed.dependencies).toEqual(manifest.dependencies);
  });

  test("says whose it is", () => {
    const repository = "https://github.com/medusa-idempotency-key/medusa-idempotency-key";
    expect(manifestOf(main)).toMatchObject({
      author: expect.any(String),
      bugs: { url: `${repository}/issues` },
      homepage: `${repository}#readme`,
      license: "MIT",
      repository: { type: "git", url: `git+${repository}.git` },
    });
  });

  test("loads the packages that it depends on", () => {
    const loader = fs.readFileSync(path.join(main, "lib/bridge/binding.js"), "utf8");
    const named = [...loader.matchAll(/require\.resolve\("(.*)"\)/g)].map(([, name]) => name);
    expect(named).toEqual(Object.keys(manifestOf(main).optionalDependencies));
  });
});

describe("the platform's package", () => {
  test("has these files", () => {
    expect(filesOf(platform)).toEqual([
      "LICENSE",
      "README.md",
      "THIRD-PARTY-NOTICES.txt",
      `medusa-idempotency-key.${HERE}.node`,
      "package.json",
    ]);
  });

  test("is installed on its platform only, and runs no script", () => {
    const { os: system, cpu, libc } = currentPlatform();
    const packed = manifestOf(platform);
    expect(packed).toMatchObject({ version: manifest.version, os: [system], cpu: [cpu] });
    expect(packed.libc).toEqual(libc && [libc]);
    expect(packed.scripts).toBeUndefined();
    expect(packed.dependencies).toBeUndefined();
    expect(packed.repository).toEqual(manifest.repository);
  });

  test("is as large as docs/install.md says", () => {
    const page = fs.readFileSync(path.join(ROOT, "docs/install.md"), "utf8");
    const [, said] = /has\s([\d.]+)\sMB\s\([\d,]+\sbytes\)/.exec(page);
    const sizes = /are\s(\d+)\skB\sfor\sthe\smain\spackage\sand\s([\d.]+)\sMB/;
    const [, saidMain, saidPlatform] = sizes.exec(page);
    const size = (file) => fs.statSync(path.join(folder, file)).size;
    const tarballs = fs.readdirSync(folder).filter((file) => file.endsWith(".tgz"));
    const [ofPlatform] = tarballs.filter((file) => file.includes(HERE));
    const [ofMain] = tarballs.filter((file) => file !== ofPlatform);
    // The page gives the sizes of this platform.
    if (HERE === "linux-x64-gnu") {
      expect(Math.abs(fs.statSync(binary()).size / 1e6 - said)).toBeLessThan(0.1);
      expect(Math.abs(size(ofPlatform) / 1e6 - saidPlatform)).toBeLessThan(0.1);
    }
    expect(Math.abs(size(ofMain) / 1e3 - saidMain)).toBeLessThan(5);
  });

  test("is the binary that all other tests load", () => {
    const tested = fs.readFileSync(path.join(ROOT, "medusa-idempotency-key.node"));
    expect(fs.readFileSync(binary()).equals(tested)).toBe(true);
  });

  test("has the notices of all crates that are linked", () => {
    const packed = fs.readFileSync(path.join(platform, "THIRD-PARTY-NOTICES.txt"), "utf8");
    const [list, ...texts] = packed.split(`\n${"-".repeat(80)}\n`);
    const crates = linkedCrates();
    expect(crates.length).toBeGreaterThan(100);
    for (const { name, licence } of crates) {
      expect(list).toContain(`\n- ${name}: ${licence}`);
      const notices = texts.filter((text) =>
        text.split(":\n\n")[0].trim().split(", ").includes(name),
      );
      const isLong = notices.join("").length > SHORTEST_NOTICE;
      expect([name, isLong]).toEqual([name, true]);
    }
    expect(list).toContain("- The Rust standard library: MIT OR Apache-2.0");
    const listed = list.split("\n").filter((line) => /^- \S+ \d/.test(line));
    expect(listed).toHaveLength(crates.length);
  });

  test("has only crates whose licences ask for no more than their notice", () => {
    const packed = fs.readFileSync(path.join(platform, "THIRD-PARTY-NOTICES.txt"), "utf8");
    const lines = packed.split("\n\n")[0].split("\n").slice(1);
    const refused = lines.filter((line) => !isAccepted(line.slice(line.indexOf(": ") + 2)));
    expect(refused).toEqual([]);
  });
});

const onOldSystems = HERE.endsWith("-gnu") && IS_PORTABLE ? describe : describe.skip;

onOldSystems("the binary on an old system", () => {
  test("needs glibc 2.17 at most", () => {
    const { versions } = readRequirements(binary());
    expect(versions).toContain("GLIBC_2.2.5");
    const minors = versions.map((version) => Number(/^GLIBC_2\.(\d+)/.exec(version)?.[1]));
    expect(Math.max(...minors)).toBeLessThanOrEqual(OLDEST_GLIBC);
  });

  test("needs only glibc's libraries", () => {
    const { libraries } = readRequirements(binary());
    const others = libraries.filter(
      (name) => !/^(lib(c|dl|m|pthread|rt)|ld-linux-.*)\.so/.test(name),
    );
    expect(libraries).toContain("libc.so.6");
    expect(others).toEqual([]);
  });

  test("is small", () => {
    expect(fs.statSync(binary()).size).toBeLessThanOrEqual(LARGEST_BINARY);
  });
});

test.each([
  ["main package", () => main],
  ["platform's package", () => platform],
])("publint has nothing to say about the %s", async (_, packed) => {
  const cli = path.join(ROOT, "node_modules/publint/src/cli.js");
  const { code, output } = await runNode([cli, "run", packed(), "--strict"], { cwd: folder });
  expect(output).toContain("All good!");
  expect(code).toBe(0);
});

// With npm and this machine's dependencies: `npm run test:installs` has all projects and managers.
test(
  "npm installs the tarballs into empty projects, which work",
  async () => {
    const script = path.join(ROOT, "scripts/test-projects.js");
    const options = ["--tarballs", folder, "--offline", "--with", "npm"];
    const { code, output } = await runNode([script, ...options, "commonjs", "esm"], {
      cwd: ROOT,
      env: { DATABASE_URL: database.url },
    });
    expect(output).toContain("> 2 of 2 passed");
    expect(code).toBe(0);
  },
  INSTALL_TIMEOUT,
);

describe("what npm installs with it", () => {
  test("has licences that ask for no more than their notice", () => {
    const packages = Object.entries(require("../package-lock.json").packages);
    const shipped = packages.filter(([place, { dev, optional }]) => place && !dev && !optional);
    expect(shipped.length).toBeGreaterThan(0);
    const refused = shipped.filter(([, { license }]) => !isAccepted(license ?? ""));
    expect(refused).toEqual([]);
  });

  const audit = auditReport();
  const audited = audit.unreachable ? test.skip : test;
  audited(`has no known vulnerability${audit.unreachable ?? ""}`, () => {
    expect(audit.vulnerabilities).toEqual({});
  });
});

/** What the registry knows of the dependencies that are shipped; or why it was not asked. */
function auditReport() {
  const args = ["audit", "--omit=dev", "--json", "--fetch-retries=1"];
  const options = { cwd: ROOT, encoding: "utf8", timeout: REGISTRY_TIMEOUT };
  const { stdout, error } = spawnSync("npm", args, options);
  const report = error ? { message: error.message } : JSON.parse(stdout);
  return report.vulnerabilities
    ? report
    : { unreachable: ` (skipped: ${report.message ?? "the registry gave no answer"})` };
}

/** Of an SPDX expression, whether what has to be accepted of it is. */
function isAccepted(expression) {
  const plain = expression.replaceAll(/[()]/g, "").replaceAll("/", " OR ");
  return plain
    .split(" AND ")
    .every((all) => all.split(" OR ").some((licence) => LICENCES.includes(licence)));
}

/** The crates that cargo links, by cargo's own account. */
function linkedCrates() {
  const format = ["--prefix", "none", "--format", "{p};{l}"];
  const args = ["tree", "--locked", "--edges", "normal,no-proc-macro", ...format];
  const printed = execFileSync("cargo", args, { cwd: ROOT, encoding: "utf8" });
  const lines = new Set(
    printed
      .trim()
      .split("\n")
      .map((line) => line.replace(" (*)", "")),
  );
  return [...lines]
    .map((line) => /^(\S+) v(\S+).*;(.*)$/.exec(line))
    .map(([, name, version, licence]) => ({ name: `${name} ${version}`, licence }))
    .filter(({ name }) => !name.startsWith(`${manifest.name} `));
}

function unpack(name) {
  const into = path.join(folder, name);
  fs.mkdirSync(into);
  execFileSync("tar", ["-xzf", path.join(folder, `${name}-${manifest.version}.tgz`), "-C", into]);
  return path.join(into, "package");
}

function filesOf(packed) {
  return fs
    .readdirSync(packed, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(packed, path.join(entry.parentPath, entry.name)))
    .sort();
}

function manifestOf(packed) {
  return JSON.parse(fs.readFileSync(path.join(packed, "package.json"), "utf8"));
}

function binary() {
  return path.join(platform, manifestOf(platform).main);
}
