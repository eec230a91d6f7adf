"use strict";

const fs = require("node:fs");
const tls = require("node:tls");

/** The value of `sslrootcert` for the authorities that the operating system trusts. */
const SYSTEM = "system";

/** Where Linux distributions keep those authorities, for versions of Node that cannot list them. */
const SYSTEM_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

let trusted;

/**
 * The authorities that Node trusts, as PEM: its own list, those of NODE_EXTRA_CA_CERTS, and the operating
 * system's under `--use-system-ca`.
 */
function trustedAuthorities() {
  trusted ??= nodeAuthorities().join("\n");
  return trusted;
}

function nodeAuthorities() {
  if (typeof tls.getCACertificates === "function") {
    return tls.getCACertificates("default");
  }
  return [...tls.rootCertificates, ...extraAuthorities()];
}

/** As in Node itself, a file that cannot be read is ignored. */
function extraAuthorities() {
  const file = process.env.NODE_EXTRA_CA_CERTS;
  try {
    return file ? [fs.readFileSync(file, "utf8")] : [];
  } catch {
    return [];
  }
}

function systemAuthorities() {
  if (typeof tls.getCACertificates === "function") {
    return tls.getCACertificates("system").join("\n");
  }
  const bundle = [process.env.SSL_CERT_FILE, ...SYSTEM_BUNDLES].find(
    (file) => file && fs.existsSync(file),
  );
  if (!bundle) {
    throw new Error("has sslrootcert=system, which needs Node 22.15 here: name the file instead");
  }
  return fs.readFileSync(bundle, "utf8");
}

module.exports = { SYSTEM, systemAuthorities, trustedAuthorities };
