"use strict";

const fs = require("node:fs");

/**
 * The platform of this process.
 *
 * @returns {{ name: string, os: string, cpu: string, libc?: "glibc" | "musl", glibc?: string }} `name`
 *   as in the names of the platform packages, `glibc` the version where it is known
 */
function currentPlatform() {
  const { arch: cpu, platform: os } = process;
  if (os === "win32") {
    return { name: `win32-${cpu}-msvc`, os, cpu };
  }
  if (os !== "linux") {
    return { name: `${os}-${cpu}`, os, cpu };
  }
  const report = makeReport();
  const glibc = report?.header.glibcVersionRuntime;
  const isMusl = report ? !glibc : hasMuslLoader(cpu);
  return isMusl
    ? { name: `linux-${cpu}-musl`, os, cpu, libc: "musl" }
    : { name: `linux-${cpu}-gnu`, os, cpu, libc: "glibc", glibc };
}

/** Node's diagnostic report; undefined where there is none, or no permission to make it (Deno). */
function makeReport() {
  const { report } = process;
  if (!report) {
    return undefined;
  }
  const { excludeNetwork } = report;
  try {
    // Else it looks up the names of the process's peers.
    report.excludeNetwork = true;
    return report.getReport();
  } catch {
    return undefined;
  } finally {
    report.excludeNetwork = excludeNetwork;
  }
}

function hasMuslLoader(cpu) {
  const machine = { arm64: "aarch64", x64: "x86_64" }[cpu] ?? cpu;
  return fs.existsSync(`/lib/ld-musl-${machine}.so.1`);
}

module.exports = { currentPlatform };
