"use strict";

// The release script and npm itself, against a registry of this process's; and the workflows.

const { execFileSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { parse } = require("yaml");
const { runNode } = require("./helpers/projects");
const { startRegistry } = require("./helpers/registry");
const { PLATFORMS } = require("../scripts/platforms");
const own = require("../package.json");

const ROOT = path.join(__dirname, "..");
const WORKFLOWS = path.join(ROOT, ".github/workflows");
const NAMES = [...Object.keys(PLATFORMS).map((platform) => `${own.name}-${platform}`), own.name];
const TAG = `v${own.version}`;

/** How a binary of each system begins, by its Rust target. */
const HEADERS = {
  "aarch64-apple-darwin": ["cffaedfe0c000001"],
  "x86_64-apple-darwin": ["cffaedfe07000001"],
  "aarch64-unknown-linux": ["7f454c46020101", [18, "b700"]],
  "x86_64-unknown-linux": ["7f454c46020101", [18, "3e00"]],
  "aarch64-pc-windows": ["4d5a", [60, "80000000"], [128, "5045000064aa"]],
  "x86_64-pc-windows": ["4d5a", [60, "80000000"], [128, "504500006486"]],
};

let folder;
let registry;

beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "release-"));
  registry = await startRegistry();
});

afterEach(async () => {
  await registry.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

function binaryFor(triple) {
  const [, [start, ...rest]] = Object.entries(HEADERS).find(([target]) =>
    triple.startsWith(target),
  );
  const bytes = Buffer.alloc(256);
  bytes.write(start, "hex");
  rest.forEach(([offset, text]) => bytes.write(text, offset, "hex"));
  return bytes;
}

/** What the packages of a release are made of. */
function release() {
  const { name, version, repository, license } = own;
  const common = { version, repository, license };
  const platforms = Object.entries(PLATFORMS).map(
    ([platform, { triple, os: system, cpu, libc }]) => ({
      manifest: {
        name: `${name}-${platform}`,
        ...common,
        main: "addon.node",
        os: [system],
        cpu: [cpu],
        ...(libc && { libc: [libc] }),
      },
      files: { "addon.node": binaryFor(triple) },
    }),
  );
  const optional = platforms.map(({ manifest }) => [manifest.name, version]);
  const optionalDependencies = Object.fromEntries(optional);
  return [...platforms, { manifest: { name, ...common, optionalDependencies }, files: {} }];
}

function writeTarballs(packages) {
  for (const { manifest, files } of packages) {
    const from = fs.mkdtempSync(path.join(os.tmpdir(), "package-"));
    fs.mkdirSync(path.join(from, "package"));
    const all = { ...files, "package.json": JSON.stringify(manifest) };
    for (const [name, content] of Object.entries(all)) {
      fs.writeFileSync(path.join(from, "package", name), content);
    }
    const tarball = path.join(folder, `${manifest.name}-${manifest.version}.tgz`);
    execFileSync("tar", ["-czf", tarball, "package"], { cwd: from });
    fs.rmSync(from, { recursive: true });
  }
}

function run(...args) {
  const userconfig = path.join(folder, "npmrc");
  fs.writeFileSync(userconfig, `//${new URL(registry.url).host}/:_authToken=token\n`);
  return runNode([path.join(ROOT, "scripts/release.js"), ...args], {
    cwd: folder,
    env: {
      npm_config_registry: registry.url,
      npm_config_userconfig: userconfig,
      npm_config_cache: path.join(folder, "cache"),
      npm_config_fetch_retries: "0",
      npm_config_update_notifier: "false",
      GITHUB_ACTIONS: "",
    },
  });
}

const published = (names) => names.map((name) => `${name}@${own.version}`);

/** Has packages of the release published by an earlier run. */
function seed(names) {
  for (const name of names) {
    const content = fs.readFileSync(path.join(folder, `${name}-${own.version}.tgz`));
    const digest = createHash("sha512").update(content).digest("base64");
    registry.seed(name, own.version, `sha512-${digest}`);
  }
}

describe("a release", () => {
  test("is all platforms and then the main package, even if it breaks off in between", async () => {
    writeTarballs(release());
    seed(NAMES.slice(0, 4));
    registry.refuse.add(NAMES[6]);
    expect(await run("publish", folder)).toMatchObject({ code: 1 });
    expect(registry.published).toEqual(published(NAMES.slice(4, 6)));
    registry.refuse.clear();
    const { code, output } = await run("publish", folder);
    expect({ code, output: code && output }).toEqual({ code: 0, output: 0 });
    expect(registry.published).toEqual(published(NAMES.slice(4)));
    expect(registry.tags[own.name]).toEqual({ latest: own.version });
  });

  test("publishes nothing where a package is published with another content", async () => {
    writeTarballs(release());
    registry.seed(own.name, own.version, "sha512-other");
    const { code, output } = await run("publish", folder);
    expect(code).toBe(1);
    expect(output).toContain(`${own.name}@${own.version} is published with another content`);
    expect(registry.published).toEqual([]);
  });

  test("that is a trial publishes nothing, and passes over what is published", async () => {
    writeTarballs(release());
    seed(NAMES.slice(0, 6));
    registry.seed(NAMES[6], own.version, "sha512-other");
    const { code, output } = await run("publish", folder, "--dry-run");
    expect({ code, output: code && output }).toEqual({ code: 0, output: 0 });
    expect(output.match(/(?<=trying ).*/g)).toEqual(published(NAMES.slice(7)));
    expect(output).toContain("the version has to be raised");
    expect(registry.published).toEqual([]);
  });

  const main = (packages) => packages.at(-1).manifest;
  const flaws = [
    ["a platform is missing", (packages) => packages.shift(), `${NAMES[0]} is missing`],
    ["the main package is missing", (packages) => packages.pop(), `${own.name} is missing`],
    [
      "there is a package too many",
      (packages) => packages.unshift({ manifest: { name: "stray", version: "1.0.0" }, files: {} }),
      "stray is not a part of it",
    ],
    [
      "a platform is of another version",
      (packages) => (packages[1].manifest.version = "9.9.9"),
      `${NAMES[1]}: its version is 9.9.9`,
    ],
    [
      "the main package wants another version of a platform",
      (packages) => (main(packages).optionalDependencies[NAMES[0]] = "^9.9.9"),
      "its optionalDependencies are not",
    ],
    [
      "a platform has the binary of another one",
      (packages) => (packages[0].files = packages[1].files),
      "its main file is no binary for darwin arm64",
    ],
    ["a platform has no binary", (packages) => (packages[3].files = {}), "is no binary for"],
    [
      "a platform is for another system",
      (packages) => (packages[2].manifest.os = ["darwin"]),
      `${NAMES[2]}: it is for`,
    ],
    [
      "something runs at installation",
      (packages) => (main(packages).scripts = { postinstall: "node build.js" }),
      "it runs a script when it is installed: postinstall",
    ],
    [
      "the repository is another one",
      (packages) => (main(packages).repository = { url: "git+https://example.com/other.git" }),
      "its repository is another one",
    ],
  ];

  test.each(flaws)("is refused where %s", async (_, spoil, message) => {
    const packages = release();
    spoil(packages);
    writeTarballs(packages);
    const { code, output } = await run("publish", folder);
    expect(code).toBe(1);
    expect(output).toContain(message);
    expect(registry.published).toEqual([]);
  });

  test("is refused under a tag that is not its version", async () => {
    writeTarballs(release());
    const { code, output } = await run("check", folder, "--tag", "v9.9.9");
    expect(code).toBe(1);
    expect(output).toContain(`the tag v9.9.9 is not ${TAG}`);
  });
});

describe("the workflows", () => {
  const files = fs.readdirSync(WORKFLOWS);
  const workflow = (name) => parse(fs.readFileSync(path.join(WORKFLOWS, name), "utf8"));
  const steps = files.flatMap((file) =>
    Object.values(workflow(file).jobs).flatMap((job) => job.steps ?? []),
  );

  test("are workflows, as GitHub reads them", async () => {
    const { code, output } = await runNode([path.join(ROOT, "scripts/check-workflows.mjs")], {
      cwd: ROOT,
    });
    expect({ code, output }).toEqual({ code: 0, output: "" });
  });

  test.each([
    ["an unknown key", "on: push\njobs: { a: { runs-on: x, steps: [{ runs: y }] } }"],
    ["an unknown context", "on: push\njobs: { a: { runs-on: '${{ secret.x }}', steps: [] } }"],
    ["a workflow that is not there", "on: push\njobs: { a: { uses: ./.github/workflows/no.yml } }"],
  ])("would be refused for %s", async (_, text) => {
    const file = path.join(folder, "bad.yml");
    fs.writeFileSync(file, text);
    const script = path.join(ROOT, "scripts/check-workflows.mjs");
    expect(await runNode([script, file], { cwd: ROOT })).toMatchObject({ code: 1 });
  });

  test("build every platform, each for its target", () => {
    const { include } = workflow("packages.yml").jobs.build.strategy.matrix;
    const built = include.map(({ platform, target }) => [platform, target]).sort();
    expect(built).toEqual(Object.entries(PLATFORMS).map(([name, { triple }]) => [name, triple]));
  });

  test("run scripts that are there and can be run", () => {
    const scripts = steps.flatMap(
      ({ run: text = "" }) => text.match(/(scripts|\.ci)\/[\w./-]+/g) ?? [],
    );
    expect(scripts.length).toBeGreaterThan(5);
    for (const script of scripts) {
      const isProgram = !script.endsWith(".js");
      fs.accessSync(path.join(ROOT, script), isProgram ? fs.constants.X_OK : fs.constants.R_OK);
    }
  });

  test("may write nowhere, but for the one job that publishes", () => {
    for (const file of files) {
      const { permissions, jobs } = workflow(file);
      expect(permissions).toEqual({ contents: "read" });
      for (const [name, job] of Object.entries(jobs)) {
        const publishes = file === "release.yml" && name === "publish";
        const expected = { contents: "read", "id-token": "write" };
        expect(job.permissions).toEqual(publishes ? expected : undefined);
      }
    }
  });
});
