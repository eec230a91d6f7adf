"use strict";

// What has to hold of the tarballs of a release.

const { spawnSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const own = require("../package.json");
const { PLATFORMS } = require("./platforms");

const CHANGELOG = path.join(__dirname, "../CHANGELOG.md");
/** Nothing of this package runs when it is installed. */
const INSTALL_SCRIPTS = ["preinstall", "install", "postinstall", "prepare"];
/** How the binaries of each system and processor begin, as text in hexadecimal. */
const MACHINES = {
  "linux x64": elf("3e00"),
  "linux arm64": elf("b700"),
  "darwin x64": (bytes) => bytes.toString("hex", 0, 8) === "cffaedfe07000001",
  "darwin arm64": (bytes) => bytes.toString("hex", 0, 8) === "cffaedfe0c000001",
  "win32 x64": portableExecutable("6486"),
  "win32 arm64": portableExecutable("64aa"),
};

/**
 * The tarballs in a folder, the main package's last.
 *
 * @param {string} folder
 */
function readTarballs(folder) {
  const files = fs
    .readdirSync(folder)
    .filter((file) => file.endsWith(".tgz"))
    .sort();
  const tarballs = files.map((file) => readTarball(path.resolve(folder, file)));
  const isMain = ({ manifest }) => manifest.name === own.name;
  return [...tarballs.filter((tarball) => !isMain(tarball)), ...tarballs.filter(isMain)];
}

function readTarball(file) {
  const content = fs.readFileSync(file);
  const integrity = `sha512-${createHash("sha512").update(content).digest("base64")}`;
  const manifest = fileIn(file, "package.json");
  if (!manifest) {
    throw new Error(`${file} is no package`);
  }
  return { file, manifest: JSON.parse(manifest), integrity, size: content.length };
}

/** The content of a file; undefined if it is not there. */
function fileIn(tarball, name) {
  // Not by the whole path: tar takes a Windows drive for a host.
  const args = ["-xzOf", path.basename(tarball), `package/${name}`];
  const options = { cwd: path.dirname(tarball), maxBuffer: 2 ** 28 };
  const { status, stdout } = spawnSync("tar", args, options);
  return status === 0 ? stdout : undefined;
}

/**
 * Why tarballs cannot be published as a release.
 *
 * @param {ReturnType<typeof readTarballs>} tarballs
 * @param {string} [tag] that the release is made for
 * @returns {string[]} empty if they can
 */
function problemsOf(tarballs, tag) {
  const expected = [...Object.keys(PLATFORMS).map((name) => `${own.name}-${name}`), own.name];
  const names = tarballs.map(({ manifest }) => manifest.name);
  return [
    ...expected.filter((name) => !names.includes(name)).map((name) => `${name} is missing`),
    ...names
      .filter((name) => !expected.includes(name))
      .map((name) => `${name} is not a part of it`),
    ...names.filter((name, index) => names.indexOf(name) < index).map((name) => `${name} is twice`),
    ...tarballs.flatMap((tarball) => problemsOfOne(tarball)),
    ...problemsOfVersion(tag),
  ];
}

function problemsOfVersion(tag) {
  if (tag === undefined) {
    return [];
  }
  const named = fs.readFileSync(CHANGELOG, "utf8").includes(`\n## [${own.version}]`);
  return [
    ...(tag === `v${own.version}` ? [] : [`the tag ${tag} is not v${own.version}, the version`]),
    ...(named ? [] : [`CHANGELOG.md has nothing about ${own.version}`]),
  ];
}

function problemsOfOne({ file, manifest }) {
  const { name, version, repository, scripts = {} } = manifest;
  const problems = [];
  if (version !== own.version) {
    problems.push(`its version is ${version}, not ${own.version}`);
  }
  if (repository?.url !== own.repository?.url) {
    problems.push("its repository is another one, which a statement of provenance cannot be of");
  }
  for (const script of INSTALL_SCRIPTS.filter((each) => scripts[each])) {
    problems.push(`it runs a script when it is installed: ${script}`);
  }
  const platform = PLATFORMS[name.slice(own.name.length + 1)];
  problems.push(...(platform ? problemsOfPlatform(file, manifest, platform) : []));
  problems.push(...(name === own.name ? problemsOfMain(manifest) : []));
  return problems.map((problem) => `${name}: ${problem}`);
}

function problemsOfMain({ optionalDependencies = {} }) {
  const expected = Object.keys(PLATFORMS).map((name) => [`${own.name}-${name}`, own.version]);
  const isSame =
    JSON.stringify(Object.entries(optionalDependencies).sort()) === JSON.stringify(expected.sort());
  return isSame ? [] : ["its optionalDependencies are not the platforms' packages of this version"];
}

function problemsOfPlatform(file, manifest, { os, cpu, libc }) {
  const given = JSON.stringify([manifest.os, manifest.cpu, manifest.libc]);
  const problems = [];
  if (given !== JSON.stringify([[os], [cpu], libc && [libc]])) {
    problems.push(`it is for ${given}`);
  }
  const binary = manifest.main && fileIn(file, manifest.main);
  if (!binary || !MACHINES[`${os} ${cpu}`](binary)) {
    problems.push(`its main file is no binary for ${os} ${cpu}`);
  }
  return problems;
}

function elf(machine) {
  return (bytes) =>
    bytes.toString("hex", 0, 5) === "7f454c4602" && bytes.toString("hex", 18, 20) === machine;
}

function portableExecutable(machine) {
  return (bytes) => {
    const header = bytes.length >= 64 ? bytes.readUInt32LE(60) : bytes.length;
    return (
      bytes.toString("latin1", 0, 2) === "MZ" &&
      bytes.toString("hex", header, header + 6) === `50450000${machine}`
    );
  };
}

module.exports = { problemsOf, readTarballs };
