"use strict";

// The licences of the Rust crates that are linked into the addon.

const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const ROOT = path.join(__dirname, "..");
/** Crates of Rust's own library that are linked on none of the platforms that have a package. */
const ELSEWHERE = /^(cc|fortanix|getopts|hermit|moto|r-efi|rand|shlex|unwinding|vex|wasi|wit)\b/;
const SHORTEST_TEXT = 200;
const LICENCE_FILE = /^(un)?(licen[cs]e|copying|copyright|notice)/i;

/**
 * The crates that are linked into the addon for a target: neither build scripts nor procedural macros.
 *
 * @param {string} triple
 * @returns {{ name: string, license: string, folder: string, authors: string[], repository?: string }[]}
 *   `name` with the version
 */
function linkedCrates(triple) {
  const named = new Map(
    JSON.parse(cargo("metadata", "--format-version", "1")).packages.map((crate) => [
      `${crate.name} ${crate.version}`,
      crate,
    ]),
  );
  const edges = ["--target", triple, "--edges", "normal,no-proc-macro"];
  const lines = cargo("tree", ...edges, "--prefix", "none", "--format", "{p}").split("\n");
  const names = lines.map((line) => /^(\S+) v(\S+)/.exec(line)?.slice(1).join(" ")).filter(Boolean);
  const [, ...linked] = new Set(names);
  return linked.sort().map((name) => {
    const { authors, license, manifest_path, repository } = named.get(name);
    return { name, license, authors, repository, folder: path.dirname(manifest_path) };
  });
}

function cargo(...args) {
  const options = { cwd: ROOT, encoding: "utf8", maxBuffer: 2 ** 28 };
  return execFileSync("cargo", [...args, "--locked"], options);
}

/**
 * The notices that go with the addon for a target.
 *
 * @param {string} triple
 * @returns {string}
 * @throws {Error} for a crate whose licence's text is not to be had
 */
function notices(triple) {
  const works = [...linkedCrates(triple).map(workOf), ...standardLibrary()];
  const list = works.map(({ name, license }) => `- ${name}: ${license}`);
  const texts = [...byText(works)].map(([text, names]) => `${names.join(", ")}:\n\n${text}`);
  const rule = `\n\n${"-".repeat(80)}\n\n`;
  return `${["The binary contains these works:", ...list].join("\n")}${rule}${texts.join(rule)}\n`;
}

function workOf(crate) {
  const { name, license } = crate;
  const texts = licenceTexts(crate);
  return { name, license, texts: texts.length > 0 ? texts : [standardText(crate)] };
}

/** The texts in a crate's folder; one that is shorter only points to another. */
function licenceTexts({ folder }) {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && LICENCE_FILE.test(path.relative(folder, fileOf(entry))))
    .map((entry) => fs.readFileSync(fileOf(entry), "utf8"))
    .filter((text) => text.length >= SHORTEST_TEXT);
}

function fileOf({ name, parentPath }) {
  return path.join(parentPath, name);
}

/** For a crate that says MIT, or MIT among others, and has no file of it. */
function standardText({ name, license, authors, repository }) {
  if (!/\bMIT\b/.test(license)) {
    throw new Error(`${name} (${license}) comes without its licence's text`);
  }
  const own = fs.readFileSync(path.join(ROOT, "LICENSE"), "utf8");
  const holders = authors.length > 0 ? authors.join(", ") : `the authors of ${repository}`;
  return own.replace(/^Copyright .*$/m, `Copyright (c) ${holders}`);
}

/** Rust's own library and what it contains, from the page that comes with the compiler. */
function standardLibrary() {
  const sysroot = execFileSync("rustc", ["--print", "sysroot"], { cwd: ROOT, encoding: "utf8" });
  const page = path.join(sysroot.trim(), "share/doc/rust/COPYRIGHT-library.html");
  if (!fs.existsSync(page)) {
    throw new Error(
      `this Rust has no ${page}, which has the licences of its library: use one from https://rustup.rs`,
    );
  }
  const [own, ...crates] = fs.readFileSync(page, "utf8").split("<h3>");
  const rust = plainText(own.slice(own.indexOf('<h2 id="longer-version">')));
  return [
    { name: "The Rust standard library", license: "MIT OR Apache-2.0", texts: [rust] },
    ...crates.map(workOfSection).filter(({ name }) => !ELSEWHERE.test(name)),
  ];
}

function workOfSection(section) {
  return {
    name: `${/^\S+ (\S+)<\/h3>/.exec(section)[1]} (in the Rust standard library)`,
    license: plainText(/<b>License:<\/b>(.*)<\/p>/.exec(section)[1]),
    texts: [...section.matchAll(/<pre>([^]*?)<\/pre>/g)].map(([, text]) => plainText(text)),
  };
}

function plainText(html) {
  return html
    .replaceAll(/<[^>]*>/g, "")
    .replaceAll(/&#(\d+);/g, (_, code) => String.fromCodePoint(code))
    .replaceAll(/\n\s*\n\s*/g, "\n\n")
    .trim();
}

/** Each text once, however its lines are broken, with the works that it is for. */
function byText(works) {
  const seen = new Map();
  for (const { name, texts } of works) {
    for (const text of texts) {
      const key = text.replaceAll(/\s+/g, " ").trim();
      const { names } = seen.get(key) ?? seen.set(key, { text: text.trim(), names: [] }).get(key);
      names.push(name);
    }
  }
  return new Map([...seen.values()].map(({ text, names }) => [text, names]));
}

module.exports = { notices };
