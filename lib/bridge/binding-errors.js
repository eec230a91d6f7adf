"use strict";

// The errors of loading the native addon. Each names the platform, what went wrong, and the remedy.

const PACKAGE = "medusa-idempotency-key";
const REPOSITORY = `https://github.com/${PACKAGE}/${PACKAGE}`;
const REINSTALL = "Delete node_modules and install again.";

/** No binary is published for the platform, and none was built here. */
function unsupported(platform, supported) {
  return bindingError(platform, "ERR_UNSUPPORTED_PLATFORM", [
    `There is no package for this platform, only for: ${supported.join(", ")}.`,
    `Build it from source, with Rust from https://rustup.rs: "git clone ${REPOSITORY}", there ` +
      `"npm ci" and "npm run build"; then "npm install" that folder in your project.`,
  ]);
}

/**
 * The platform's package is not installed, or its file is gone.
 *
 * @param {string[]} others the platforms whose packages are installed
 */
function missing(platform, others, cause) {
  return bindingError(
    platform,
    "ERR_BINARY_MISSING",
    reasonsOfMissing(platform, others, cause),
    cause,
  );
}

function reasonsOfMissing(platform, others, cause) {
  const name = `${PACKAGE}-${platform.name}`;
  if (cause?.path?.endsWith("package.json")) {
    return [`The package ${name} is there, but its binary is not. ${REINSTALL}`];
  }
  const notInstalled = `The package ${name} is not installed`;
  const onThisSystem = `"npm install ${npmPlatform(platform)}"`;
  if (others.length > 0) {
    return [
      `${notInstalled}, but the one for ${others.join(", ")} is: node_modules comes from another system.`,
      `Install on this system, or for it: ${onThisSystem}.`,
    ];
  }
  return [
    `${notInstalled}. It is an optional dependency of ${PACKAGE}:`,
    `- if those were left out (--omit=optional, --no-optional), install again with them;`,
    `- if node_modules or the lock file comes from another system, delete both and install again, or ` +
      `use ${onThisSystem}.`,
  ];
}

function npmPlatform({ os, cpu, libc }) {
  return [`--os=${os}`, `--cpu=${cpu}`, ...(libc ? [`--libc=${libc}`] : [])].join(" ");
}

/** The file cannot be this platform's binary. */
function unusable(platform, file, fault) {
  return bindingError(platform, "ERR_BINARY_LOAD", [
    `${file} cannot be loaded: it ${fault}. ${denoPermission(fault) ?? REINSTALL}`,
  ]);
}

function denoPermission(message) {
  const [flag] = /--allow-(?:ffi|read)\b/.exec(message) ?? [];
  return flag && `Run Deno with ${flag}.`;
}

/** The runtime or the dynamic linker refused the file with `cause`. */
function refused(platform, file, cause) {
  return bindingError(
    platform,
    "ERR_BINARY_LOAD",
    [`${file} cannot be loaded: ${cause.message}`, remedyOf(platform, cause)],
    cause,
  );
}

function remedyOf(platform, { code, message }) {
  if (code === "ERR_DLOPEN_DISABLED") {
    return "Run Node without --no-addons; with --permission, add --allow-addons.";
  }
  if (denoPermission(message)) {
    return denoPermission(message);
  }
  const [, needed] = /GLIBC_([\d.]+)' not found/.exec(message) ?? [];
  if (needed) {
    const found = platform.glibc ? `has glibc ${platform.glibc}` : "has an older one";
    return `The binary needs glibc ${needed}, and this system ${found}: use a newer system, or build from source (${REPOSITORY}).`;
  }
  return REINSTALL;
}

/** The addon is of another version of this package, or of something else. */
function otherVersion(platform, file, { expected, found }) {
  const isOurs = typeof found === "string";
  return bindingError(platform, "ERR_BINARY_LOAD", [
    isOurs
      ? `${PACKAGE} is version ${expected}, but its binary is version ${found}: ${file}.`
      : `${file} is not a binary of ${PACKAGE} ${expected}.`,
    `Both must have one version. ${REINSTALL} In a clone, run "npm run build".`,
  ]);
}

function bindingError({ os, cpu, libc, glibc }, code, lines, cause) {
  const where = [`${os}-${cpu}`, ...(libc ? [`(${[libc, glibc].filter(Boolean).join(" ")})`] : [])];
  const message = [`${PACKAGE} cannot load its binary on ${where.join(" ")}.`, ...lines].join("\n");
  return Object.assign(new Error(message, cause && { cause }), { code });
}

module.exports = { missing, otherVersion, refused, unsupported, unusable };
