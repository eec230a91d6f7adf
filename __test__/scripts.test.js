"use strict";

// What the scripts say on a machine where Rust is not as it should be, how versions are raised, and what
// of the tree is checked.

const { execFileSync, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { report } = require("../scripts/api");
const { functionProblems, structureProblems } = require("../scripts/check-structure");

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
  for (const file of ["index.d.ts", "medusa.d.ts", "lib", "etc"]) {
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

describe("the check of the structure", () => {
  const LAYERS = {
    lib: [["low"], ["left", "right"], ["top.js"]],
    src: [["low"], ["high"], ["lib.rs"]],
  };

  /** What is wrong with a tree of these files. */
  function problems(files) {
    for (const [name, text] of Object.entries({ "lib/top.js": "", "src/lib.rs": "", ...files })) {
      fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
      fs.writeFileSync(path.join(folder, name), text);
    }
    return structureProblems({ root: folder, layers: LAYERS });
  }

  test("finds nothing where imports point down", () => {
    const found = problems({
      "lib/top.js": 'require("./left/a");\nrequire("./low/b");\nrequire("pg");',
      "lib/left/a.js": 'require("../low/b");\n// require("../top")\nrequire("./c");',
      "lib/left/c.js": "",
      "lib/low/b.js": "",
      "src/lib.rs": "pub mod high;\npub mod low;\n",
      "src/high/mod.rs": "mod inner;\npub use inner::Inner;\n",
      "src/high/inner.rs": "use crate::low::Low;\nuse std::fmt;\n/// As [`crate::lib`].\n",
      "src/low.rs": "#[cfg(test)]\nmod tests {\n    use crate::high::Inner;\n}\n",
    });
    expect(found).toEqual([]);
  });

  test.each([
    ["a require that points up", { "lib/low/a.js": '\nrequire("../top");' }, "lib/low/a.js:2"],
    ["one within a function", { "lib/low/a.js": '() => require("../top.js");' }, "lib/low/a.js:1"],
    [
      "one that points to a neighbour",
      { "lib/left/a.js": 'require("../right/index");', "lib/right/index.js": "" },
      "lib/left/a.js:1",
    ],
    [
      "a `use` that points up",
      { "src/low.rs": "\nuse crate::high::X;", "src/high.rs": "" },
      "src/low.rs:2",
    ],
    [
      "one in a tree of several lines",
      { "src/low.rs": "use crate::{\n    high::{self, X},\n    low,\n};", "src/high.rs": "" },
      "src/low.rs:1",
    ],
    [
      "one that goes by its parent",
      { "src/low/deep.rs": "use super::super::high::X;", "src/high.rs": "", "src/low/mod.rs": "" },
      "src/low/deep.rs:1",
    ],
    [
      "a path in the code",
      { "src/low.rs": "fn f() {\n    crate::high::g()\n}", "src/high.rs": "" },
      "src/low.rs:2",
    ],
  ])("finds %s", (_, files, place) => {
    const found = problems(files);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^\S+: imports \S+, which is (above|beside) it /);
    expect(found[0].startsWith(`${place}: `)).toBe(true);
  });

  test.each([
    [
      "JavaScript",
      {
        "lib/low/a.js": 'require("./b");',
        "lib/low/b.js": '\nrequire("./c");',
        "lib/low/c.js": 'require("./a");',
      },
      "lib/low/a.js:1 -> lib/low/b.js:2 -> lib/low/c.js:1 -> lib/low/a.js: is a circle of imports",
    ],
    [
      "Rust",
      {
        "src/low/mod.rs": "mod a;\nmod b;",
        "src/low/a.rs": "use super::b::B;",
        "src/low/b.rs": "\nuse crate::low::a::A;",
      },
      "src/low/a.rs:1 -> src/low/b.rs:2 -> src/low/a.rs: is a circle of imports",
    ],
  ])("finds a circle in %s", (_, files, circle) => {
    expect(problems(files)).toEqual([circle]);
  });

  test("finds a file in no layer", () => {
    expect(problems({ "lib/other/a.js": "" })).toEqual([
      "lib/other/a.js: is in no layer of LAYERS",
    ]);
  });

  test("finds a file that is too long, unless it says why", () => {
    const long = "\n".repeat(300) + "end();\n";
    const found = problems({
      "lib/low/long.js": `// A file.\n${long}`,
      "lib/low/whole.js": `"use strict";\n\n// Whole: a table of values.\n${long}`,
      "src/low.rs": `//! Statements.\n//!\n//! Whole: one table of columns.\n${long}`,
      "src/high.rs": `fn f() {}\n// Whole: not at the top.\n${long}`,
      "src/lib.rs": "\n".repeat(299) + "end\n",
    });
    expect(found.map((problem) => problem.split(":")[0])).toEqual([
      "lib/low/long.js",
      "src/high.rs",
    ]);
  });

  test("finds exceptions for a function in Rust that do not say why", () => {
    const found = problems({
      "src/low.rs":
        "#[allow(clippy::too_many_lines)]\nfn f() {}\n" +
        '#[expect(clippy::too_many_lines, reason = "one match")]\nfn g() {}\n',
    });
    expect(found).toEqual([expect.stringMatching(/^src\/low\.rs:1: does not say why/)]);
  });

  test("finds functions in JavaScript that are too long and do not say why", () => {
    const long = (name) => `function ${name}() {\n${"  // more\n".repeat(40)}}\n`;
    const short = `function short() {\n${"  // more\n".repeat(38)}}\n`;
    const except = "// eslint-disable-next-line max-lines-per-function";
    problems({
      "lib/low/a.js": `${short}${long("a")}`,
      "lib/low/b.js": `${except}\n${long("b")}`,
      "lib/low/c.js": `${except} -- a table\n${long("c")}`,
    });
    expect(functionProblems({ root: folder })).toEqual([
      expect.stringMatching(/^lib\/low\/a\.js:41: Function 'a' has too many lines \(42\)/),
      expect.stringMatching(/^lib\/low\/b\.js:2: does not say why/),
    ]);
  });
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
