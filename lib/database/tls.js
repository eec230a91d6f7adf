"use strict";

const { createPrivateKey } = require("node:crypto");
const { isIP } = require("node:net");
const { trustedAuthorities } = require("./authorities");

/** TypeORM's and `pg`'s `ssl`, which are options of Node's `tls.connect()`: those that are honoured. */
const HONOURED = [
  "rejectUnauthorized",
  "ca",
  "cert",
  "key",
  "passphrase",
  "servername",
  "checkServerIdentity",
  "minVersion",
  // Of the URL or of a driver of the project's, which says the same with it.
  "sslmode",
  "mode",
  "require",
  "host",
  "port",
  // What comes with every connection of Node's is of no account here.
  "enableTrace",
  "keepAlive",
  "timeout",
];

/** Versions that the engine's TLS has at least. */
const OLDER_THAN_OURS = ["TLSv1", "TLSv1.1", "TLSv1.2"];

/**
 * How a connection is encrypted, from `ssl` in all the forms that `pg` takes: on, off, or options. An option
 * that cannot be honoured is thrown as an Error with its name.
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

/** As in Node, an authority that is given counts instead of those that are trusted else. */
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
      // `pg` itself puts the host in its place, unless that is an address.
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

/** A key that is protected by a passphrase is opened here: the engine takes none. */
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
