"use strict";

// Writes the packages that are published into artifacts/: the main one, and one for each platform that
// is built. `npm run pack` builds for this machine; `-- --target TRIPLE …` for other targets of Rust,
// `-- --into FOLDER` writes elsewhere. `-- --host-linker` is for machines that no linker for old systems is made
// for: what it packs runs on systems as new as this one.

const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { parseArgs } = require("node:util");
const manifest = require("../package.json");
const { build, hostTriple } = require("./build");
const { notices } = require("./notices");
const { PLATFORMS, platformOf } = require("./platforms");
const { readRequirements } = require("./elf");

const ROOT = path.join(__dirname, "..");
const OLDEST_GLIBC = 17;
/** There npm is a script, which only a shell runs. */
const IS_WINDOWS = process.platform === "win32";
const { name, version } = manifest;

function main() {
  const { values } = parseArgs({
    options: {
      into: { type: "string", default: path.join(ROOT, "artifacts") },
      target: { type: "string", multiple: true, default: [] },
      "host-linker": { type: "boolean", default: false },
    },
  });
  const into = path.resolve(values.into);
  const triples = values.target.length > 0 ? values.target : [hostTriple()];
  clear(into);
  const portable = !values["host-linker"];
  const packAll = (triple) => packPlatform(triple, into, portable);
  const tarballs = [packMain(into), ...triples.map(packAll)];
  for (const tarball of tarballs) {
    console.log(path.relative(process.cwd(), tarball));
  }
}

/** Of earlier tarballs, which are of other versions perhaps. */
function clear(into) {
  fs.mkdirSync(into, { recursive: true });
  for (const file of fs.readdirSync(into)) {
    if (file.startsWith(name) && file.endsWith(".tgz")) {
      fs.rmSync(path.join(into, file));
    }
  }
}

function packMain(into) {
  const files = ["LICENSE", "README.md", ...manifest.files];
  return pack(into, mainManifest(), (folder) => {
    for (const file of files) {
      fs.cpSync(path.join(ROOT, file), path.join(folder, file), { recursive: true });
    }
  });
}

/**
 * The repository's manifest without what is for its developers. The platform packages are added here:
 * in the repository npm would look for them, in a version that is not published yet, and refuse the
 * lock file without them.
 */
function mainManifest() {
  const packages = Object.keys(PLATFORMS).map((platform) => [`${name}-${platform}`, version]);
  const published = { ...manifest, optionalDependencies: Object.fromEntries(packages) };
  for (const field of ["devDependencies", "overrides", "scripts"]) {
    delete published[field];
  }
  return published;
}

function packPlatform(triple, into, portable) {
  const platform = platformOf(triple);
  if (!platform) {
    throw new Error(`There is no package for ${triple}: see scripts/platforms.js`);
  }
  const binary = build(triple, { portable });
  if (portable && triple.endsWith("-linux-gnu")) {
    refuseNewSystems(binary);
  }
  const packed = platformManifest(platform);
  return pack(into, packed, (folder) => {
    fs.copyFileSync(binary, path.join(folder, packed.main));
    fs.copyFileSync(path.join(ROOT, "LICENSE"), path.join(folder, "LICENSE"));
    fs.writeFileSync(path.join(folder, "THIRD-PARTY-NOTICES.txt"), notices(triple));
    fs.writeFileSync(path.join(folder, "README.md"), platformReadme(packed.name, triple));
  });
}

function platformManifest(platform) {
  const { author, bugs, engines, homepage, license, repository } = manifest;
  const { cpu, libc, os: system } = PLATFORMS[platform];
  const main = `${name}.${platform}.node`;
  return {
    name: `${name}-${platform}`,
    version,
    description: `The native binary of ${name} for ${platform}`,
    license,
    author,
    homepage,
    repository,
    bugs,
    type: "commonjs",
    main,
    files: [main, "THIRD-PARTY-NOTICES.txt"],
    engines,
    os: [system],
    cpu: [cpu],
    ...(libc && { libc: [libc] }),
    // A library cannot be loaded out of an archive.
    preferUnplugged: true,
  };
}

function platformReadme(packageName, triple) {
  return `# ${packageName}

The native binary of [${name}](${manifest.homepage}) for ${triple}. It is installed with that package;
THIRD-PARTY-NOTICES.txt has the licences of what is linked in.
`;
}

/** What a slim image of an old system does not have. */
function refuseNewSystems(binary) {
  const { libraries, versions } = readRequirements(binary);
  const tooNew = versions.filter((needed) => /^GLIBC_2\.(\d+)/.exec(needed)?.[1] > OLDEST_GLIBC);
  const unwanted = [...tooNew, ...libraries.filter((library) => library.startsWith("libgcc"))];
  if (unwanted.length > 0) {
    throw new Error(`${binary} needs ${unwanted.join(", ")}`);
  }
}

function pack(into, packedManifest, fill) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `${name}-`));
  try {
    const text = JSON.stringify(packedManifest, null, 2);
    fs.writeFileSync(path.join(folder, "package.json"), `${text}\n`);
    fill(folder);
    const args = ["pack", "--silent", "--ignore-scripts", "--pack-destination", into];
    const tarball = execFileSync("npm", args, {
      cwd: folder,
      encoding: "utf8",
      shell: IS_WINDOWS,
    }).trim();
    return path.join(into, tarball);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

try {
  main();
} catch (error) {
  console.error(`> ${error.message}`);
  process.exitCode = 1;
}
