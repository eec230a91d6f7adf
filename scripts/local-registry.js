"use strict";

// A registry of npm's kind for tests: it has the tarballs of a release as if they were published, so
// that every package manager installs them as a user does.

const { execFileSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");
const { name: OWN, version: VERSION } = require("../package.json");
const { PLATFORMS } = require("./platforms");

const NPM = "https://registry.npmjs.org";
const INSTALLED = path.join(__dirname, "../node_modules");
/** Package managers refuse what was published a moment ago. */
const PUBLISHED = "2020-01-01T00:00:00.000Z";

/**
 * @param {string} folder with the tarballs. What it lacks of the platforms' packages, which other
 *   machines build, is there without a binary.
 * @param {{ offline?: boolean }} [options] `offline`: all other packages are those of this
 *   repository's `node_modules`, by default npm's
 * @returns {Promise<{ url: string, close(): Promise<void> }>}
 */
async function startLocalRegistry(folder, { offline = false } = {}) {
  const packages = new Map();
  for (const platform of Object.keys(PLATFORMS)) {
    const manifest = foreignManifest(platform);
    packages.set(manifest.name, { manifest, tarball: tarballOf((to) => write(to, manifest)) });
  }
  for (const file of fs.readdirSync(folder).filter((each) => each.endsWith(".tgz"))) {
    const tarball = fs.readFileSync(path.join(folder, file));
    const manifest = manifestIn(path.join(folder, file));
    packages.set(manifest.name, { manifest, tarball });
  }
  const find = (name) => packages.get(name) ?? (offline ? installed(packages, name) : undefined);
  const server = http.createServer((req, res) => answer(req, res, find, offline));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

function answer(req, res, find, offline) {
  const [, name, file] = /^\/((?:@[^/]+\/)?[^/?]+)(\/-\/[^?]+)?/.exec(decodeURIComponent(req.url));
  const found = find(name);
  if (found && file) {
    res.writeHead(200, { "content-type": "application/octet-stream" }).end(found.tarball);
  } else if (found) {
    const origin = `http://${req.headers.host}`;
    res.writeHead(200, { "content-type": "application/json", "cache-control": "no-store" });
    res.end(JSON.stringify(packument(found, origin)));
  } else if (offline) {
    res.writeHead(404, { "content-type": "application/json" }).end('{"error":"Not found"}');
  } else {
    res.writeHead(302, { location: NPM + req.url }).end();
  }
}

function packument({ manifest, tarball }, origin) {
  const { name, version } = manifest;
  const dist = {
    tarball: `${origin}/${name}/-/${name}-${version}.tgz`,
    integrity: `sha512-${createHash("sha512").update(tarball).digest("base64")}`,
    shasum: createHash("sha1").update(tarball).digest("hex"),
  };
  return {
    name,
    "dist-tags": { latest: version },
    versions: { [version]: { ...manifest, _id: `${name}@${version}`, dist } },
    time: { created: PUBLISHED, modified: PUBLISHED, [version]: PUBLISHED },
  };
}

function foreignManifest(platform) {
  const { os: system, cpu, libc } = PLATFORMS[platform];
  const conditions = { os: [system], cpu: [cpu], ...(libc && { libc: [libc] }) };
  return { name: `${OWN}-${platform}`, version: VERSION, ...conditions };
}

function manifestIn(file) {
  const text = execFileSync("tar", ["-xzOf", file, "package/package.json"], { encoding: "utf8" });
  return JSON.parse(text);
}

/** A package as npm has installed it here, packed again. */
function installed(packages, name) {
  const folder = path.join(INSTALLED, name);
  if (!fs.existsSync(path.join(folder, "package.json"))) {
    return undefined;
  }
  const manifest = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
  const tarball = tarballOf((to) => fs.cpSync(folder, to, { recursive: true }));
  packages.set(name, { manifest, tarball });
  return packages.get(name);
}

function write(folder, manifest) {
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify(manifest));
}

function tarballOf(fill) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "packed-"));
  try {
    fill(path.join(folder, "package"));
    const args = ["-czf", "-", "-C", folder, "package"];
    return execFileSync("tar", args, { maxBuffer: Infinity });
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

module.exports = { startLocalRegistry };
