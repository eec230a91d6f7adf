"use strict";

const { createPrivateKey } = require("node:crypto");
const { isIP } = require("node:net");
const { trustedAuthorities } = require("./authorities");

/** Which of Node's `tls.connect()` options are honoured in the `ssl` of `pg` and TypeORM. */
const HONOURED = [
  "rejectUnauthorized",
  "ca",
  "cert",
  "key",
  "passphrase",
  "servername",
  "checkServerIdentity",
  "minVersion",
  // From a URL or from another driver; they repeat what is known already.
  "sslmode",
  "mode",
  "require",
  "host",
  "port",
  // Options of Node's sockets, which have no meaning here.
  "enableTrace",
  "keepAlive",
  "timeout",
];

/** Values of minVersion that allow no version older than the engine's TLS does. */
const OLDER_THAN_OURS = ["TLSv1", "TLSv1.1", "TLSv1.2"];

/**
 * Reads how a connection is encrypted, from `ssl` in all the forms that `pg` takes: on, off, or options. Throws an
 * Error that names an option which cannot be honoured.
 *
 * @param {unknown} ssl
 * @param {string} host that is connected to
 * @returns {{ mode: string, ca?: string, cert?: string, key?: string } | undefined} the mode is libpq's
 */
function tlsOf(ssl, host) {
  if (!ssl || ssl === "false" || ssl === "0") {
    return undefined;
  }
  if (typeof ssl !== "object") {
    return ssl === "no-verify" ? { mode: "require" } : verified("verify-full");
  }
  requireHonoured(ssl, host);
  const client = { cert: pem(ssl.cert), key: keyOf(ssl) };
  if (ssl.rejectUnauthorized === false) {
    return { mode: "require", ...client };
  }
  const mode = ssl.checkServerIdentity ? "verify-ca" : "verify-full";
  return { ...verified(mode, pem(ssl.ca)), ...client };
}

/** As in Node, authorities that are given replace those that are trusted by default. */
function verified(mode, ca = trustedAuthorities()) {
  return { mode, ca };
}

function requireHonoured(ssl, host) {
  for (const [name, value] of Object.entries(ssl)) {
    const isGiven = value !== undefined && value !== null;
    if (isGiven && !(HONOURED.includes(name) && isHonoured(name, value, host))) {
      throw new Error(`has ssl.${name}, which cannot be honoured`);
    }
  }
}

function isHonoured(name, value, host) {
  switch (name) {
    case "servername":
      // `pg` sets it to the host itself, unless that is an address.
      return value === host || isIP(host) === 0;
    case "checkServerIdentity":
      return acceptsEverything(value);
    case "minVersion":
      return OLDER_THAN_OURS.includes(value);
    default:
      return true;
  }
}

/** What verifies no name, as `uselibpqcompat` has it and people write it; others cannot be called from here. */
function acceptsEverything(check) {
  const body = /^(?:async\s+)?(?:function\b[^(]*)?\([^)]*\)\s*(?:=>)?\s*(.*)$/s.exec(
    String(check).trim(),
  );
  return /^(?:\{\s*(?:return\s*(?:undefined|null)?\s*;?)?\s*\}|undefined|null|void 0)$/.test(
    body?.[1] ?? "",
  );
}

/** Decrypts a key that has a passphrase: the engine takes none. */
function keyOf({ key, passphrase }) {
  const text = pem(key);
  if (text === undefined || !passphrase) {
    return text;
  }
  try {
    return createPrivateKey({ key: text, passphrase }).export({ type: "pkcs8", format: "pem" });
  } catch {
    throw new Error("has ssl.key and ssl.passphrase, which do not fit together");
  }
}

function pem(value) {
  if (Array.isArray(value)) {
    return value.map(pem).join("\n");
  }
  return value === undefined || value === null ? undefined : String(value);
}

module.exports = { tlsOf };
