"use strict";

const { createHash } = require("node:crypto");

// The table has one unique index, on the key alone. So that two scopes never meet, the key of a request that has a
// scope is stored with a digest of the scope before it.

/**
 * Ends the digest. No client's key has it, as those are visible ASCII; nor can an HTTP header bring it. So a client
 * addresses keys of its own scope only, even if it knows how others are stored.
 */
const SEPARATOR = "\u001f";

/** What a stored key has before the client's: 256 bits in base64url. */
const PREFIX = new RegExp(`^[\\w-]{43}${SEPARATOR}`);

/** Digests by scope: tenants come again and again. Bounded, since there may be any number of them. */
const digests = new Map();
const REMEMBERED = 10_000;

/**
 * The key as it is stored.
 *
 * @param {string | undefined} scope
 * @param {string} key the client's
 */
function scopedKey(scope, key) {
  return scope === undefined ? key : digestOf(scope) + SEPARATOR + key;
}

/**
 * The client's own key, for whoever is not to see the scope.
 *
 * @param {string} stored
 */
function clientsKey(stored) {
  return stored.replace(PREFIX, "");
}

function digestOf(scope) {
  let digest = digests.get(scope);
  if (digest === undefined) {
    if (digests.size === REMEMBERED) {
      digests.clear();
    }
    digest = createHash("sha256").update(scope).digest("base64url");
    digests.set(scope, digest);
  }
  return digest;
}

module.exports = { clientsKey, scopedKey };
