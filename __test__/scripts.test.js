"use strict";

// What the scripts say on a machine where Rust is not as it should be, how versions are raised, and what
// of the tree is checked.

const { execFileSync, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { report } = require("../scripts/api");

const ROOT = path.join(__dirname, "..");
const RUSTUP_WITHOUT_TOOLCHAIN = `
  echo "error: rustup could not choose a version of cargo to run, because one wasn't specified" >&2
  exit 1
`;

let folder;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "idempotency-scripts-"));
});

afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

describe("without a Rust that can build", () => {
  test.each([
    [
      "cargo is not there",
      {},
      /^> Rust 1\.94 or newer is needed and cargo was not found: .*rustup/,
    ],
    [
      "rustup has no toolchain",
      { cargo: RUSTUP_WITHOUT_TOOLCHAIN },
      /^> Rust 1\.94 or newer is needed and rustup has no toolchain: run "rustup default stable"/,
    ],
    [
      "it is too old",
      { cargo: "echo cargo 1.93.1", rustc: "echo rustc 1.93.1" },
      /^> Rust 1\.94 or newer is needed and cargo is 1\.93: run "rustup update stable"/,
    ],
    [
      "only rustc is too old",
      { cargo: "echo cargo 2.0.0", rustc: "echo rustc 1.9.0" },
      /^> Rust 1\.94 or newer is needed and rustc is 1\.9: run/,
    ],
  ])("a sentence says what to do where %s", (_, commands, sentence) => {
    const clone = cloneWithoutBuild();
    for (const script of ["prepare.js", "test.js", "build.js", "rust.js"]) {
      const { status, stdout, stderr } = runWith(commands, path.join(clone, "scripts", script));
      expect(status).toBe(1);
      expect(stdout).toBe("");
      expect(stderr).toMatch(sentence);
      expect(stderr.trim().split("\n")).toHaveLength(1);
    }
  });

  test("what is built is used", () => {
    const clone = cloneWithoutBuild();
    fs.writeFileSync(path.join(clone, "medusa-idempotency-key.node"), "");
    expect(runWith({}, path.join(clone, "scripts/prepare.js"))).toMatchObject({
      status: 0,
      stderr: "",
    });
  });
});

test("one command raises every version", () => {
  const clone = path.join(folder, "clone");
  execFileSync("git", ["clone", "--quiet", "--no-hardlinks", ROOT, clone]);
  const git = (...args) => execFileSync("git", args, { cwd: clone, encoding: "utf8" });
  git("config", "user.name", "test");
  git("config", "user.email", "test@example.com");
  // As it is here, committed or not.
  fs.copyFileSync(path.join(ROOT, "scripts/version.js"), path.join(clone, "scripts/version.js"));
  git("commit", "--quiet", "--all", "--allow-empty", "--message", "the script");
  execFileSync("npm", ["version", "7.8.9", "--silent"], { cwd: clone });
  const read = (file) => fs.readFileSync(path.join(clone, file), "utf8");
  const name = `name = "medusa-idempotency-key"`;
  expect(JSON.parse(read("package.json")).version).toBe("7.8.9");
  expect(JSON.parse(read("package-lock.json")).version).toBe("7.8.9");
  expect(JSON.parse(read("package-lock.json")).packages[""].version).toBe("7.8.9");
  expect(read("Cargo.toml")).toContain(`${name}\nversion = "7.8.9"`);
  expect(read("Cargo.lock")).toContain(`${name}\nversion = "7.8.9"`);
  expect(JSON.parse(read("examples/medusa-v1/package-lock.json")).packages["../.."].version).toBe(
    "7.8.9",
  );
  expect(read("CHANGELOG.md")).toMatch(/## \[Unreleased\]\n\n## \[7\.8\.9\] - \d{4}-\d\d-\d\d\n/);
  expect(git("status", "--porcelain")).toBe("");
  expect(git("describe", "--exact-match").trim()).toBe("v7.8.9");
});

test("the versions agree", () => {
  const { version } = require("../package.json");
  const read = (file) => fs.readFileSync(path.join(ROOT, file), "utf8");
  expect(require("../package-lock.json").version).toBe(version);
  expect(/^version = "(.*)"/m.exec(read("Cargo.toml"))[1]).toBe(version);
  expect(read("Cargo.lock")).toContain(`name = "medusa-idempotency-key"\nversion = "${version}"`);
  expect(require("../lib/bridge/binding").VERSION).toBe(version);
  expect(read("CHANGELOG.md")).toContain(`\n## [${version}] - `);
});

test("a change of the public API makes its report stale, until it is written again", () => {
  for (const file of ["index.d.ts", "medusa.d.ts", "etc"]) {
    fs.cpSync(path.join(ROOT, file), path.join(folder, file), { recursive: true });
  }
  const options = { root: folder, reports: path.join(folder, "etc") };
  expect(report({ ...options, isCheck: true })).toEqual([]);
  const declarations = path.join(folder, "index.d.ts");
  const text = fs.readFileSync(declarations, "utf8");
  fs.writeFileSync(declarations, text.replaceAll("prune(", "prunes("));
  expect(report({ ...options, isCheck: true })).toEqual(["index.api.md"]);
  expect(report({ ...options, isCheck: true })).toEqual(["index.api.md"]);
  expect(report(options)).toEqual(["index.api.md"]);
  expect(report({ ...options, isCheck: true })).toEqual([]);
});

/** The scripts and what they look at, with the packages installed, and nothing built. */
function cloneWithoutBuild() {
  const clone = path.join(folder, "clone");
  const files = ["Cargo.toml", "Cargo.lock", "build.rs", "package.json", "package-lock.json"];
  for (const file of [...files, "scripts", "src"]) {
    fs.cpSync(path.join(ROOT, file), path.join(clone, file), { recursive: true });
  }
  fs.mkdirSync(path.join(clone, "node_modules"));
  fs.writeFileSync(path.join(clone, "node_modules/.package-lock.json"), "");
  return clone;
}

/** Runs a script where these are the only commands. */
function runWith(commands, script) {
  const bin = path.join(folder, "bin");
  fs.mkdirSync(bin, { recursive: true });
  for (const [name, body] of Object.entries(commands)) {
    fs.writeFileSync(path.join(bin, name), `#!/bin/sh\n${body}`, { mode: 0o755 });
  }
  return spawnSync(process.execPath, [script], { encoding: "utf8", env: { PATH: bin } });
}
