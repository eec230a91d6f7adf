"use strict";

const stringify = require("safe-stable-stringify");
const { clientKey } = require("../bridge/binding");
const { medusaError } = require("../errors/errors");
const { fingerprintOf } = require("../request/fingerprints");
const { jsonOf } = require("../values/json");
const { problem } = require("./problem");
const { turn } = require("./turn");
const { warnOfNoScope } = require("./warnings");

/**
 * A request, as an adapter or the caller of handle() describes it.
 *
 * @typedef {object} HttpRequest
 * @property {unknown} [key] in place of the header's
 * @property {string} method
 * @property {string} path may have the query
 * @property {unknown} [query] as text, or parsed
 * @property {unknown} [params] the route's
 * @property {unknown} [body] as it was parsed; or a function that reads it, and may resolve to it
 * @property {string | null} [scope] in place of the policy's
 * @property {Record<string, string | string[] | undefined>} [headers] with names in lower case
 * @property {unknown} [native] what the policy's functions get; default: this object
 */

/** What a message that refuses a scope says. */
const SCOPE =
  "medusa-idempotency-key: scope has to be a string that is not empty, null or undefined";

/**
 * Reads a request.
 *
 * @param {object} policy
 * @param {HttpRequest} request
 * @returns {Promise<{ key?: string, shown: string | null, refusal?: object, beginning?: () => Promise<object> }>} its
 *   key, the key as it is shown, and the answer if it is refused; else `beginning()`, which resolves to what it is
 *   begun with, or to `{ refusal }`
 */
async function readRequest(policy, request) {
  const { keyFrom } = policy;
  const isAsked = request.key === undefined && keyFrom;
  const key = keyOf(isAsked ? await keyFrom(nativeOf(request)) : keyGiven(policy, request));
  if (key === undefined) {
    const refusal = policy.required ? problem("idempotency_key_required") : undefined;
    return { shown: null, refusal, beginning: () => beginningOf(policy, request) };
  }
  // What is no text may come from a webhook's body.
  const { value, failure } = typeof key === "string" ? clientKey(key.toWellFormed()) : {};
  if (failure || value === undefined) {
    return { shown: null, refusal: problem("invalid_idempotency_key") };
  }
  return { key, shown: value, beginning: () => beginningOf(policy, request, key) };
}

function keyGiven({ header }, { key, headers }) {
  return key === undefined ? headers?.[header] : key;
}

function keyOf(key) {
  const only = Array.isArray(key) && key.length === 1 ? key[0] : key;
  return only === null || only === "" ? undefined : only;
}

async function beginningOf(policy, given, key) {
  // Waits only for what the application may take its time for.
  const body = typeof given.body === "function" ? await given.body() : given.body;
  const request = { ...given, body };
  const { method, params } = request;
  const compared = policy.fingerprint ? await policy.fingerprint(request) : body;
  const scope = policy.scope ? await scopeOf(policy, request) : scopeGiven(request);
  try {
    const { path, query } = pathAndQuery(request);
    const url = policy.query && query ? `${path}?${query}` : path;
    const fingerprint = fingerprintOf(method, url, compared);
    await turn();
    return { key, scope, method, path, params, fingerprint, wantsHeaders: true };
  } catch (error) {
    if (error.status === 400) {
      return { refusal: problem("invalid_request") };
    }
    throw error;
  }
}

function pathAndQuery({ path: given, query: parsed }) {
  const [path, ...rest] = String(given).split("?");
  const query = parsed ?? rest.join("?");
  return { path, query: typeof query === "string" ? query.replace(/^\?/, "") : queryText(query) };
}

function queryText(parsed) {
  return Object.keys(Object(parsed)).length === 0 ? "" : jsonOf(parsed, stringify);
}

/** @returns {Promise<string | undefined>} */
async function scopeOf(policy, request) {
  const { scope } = request;
  return checkedScope(scope === undefined ? await policy.scope(nativeOf(request)) : scope);
}

function scopeGiven({ scope, headers }) {
  if (scope === undefined && (headers?.authorization || headers?.cookie)) {
    warnOfNoScope();
  }
  return checkedScope(scope);
}

function checkedScope(given) {
  const scope = given ?? undefined;
  if (scope !== undefined && (typeof scope !== "string" || scope === "" || !scope.isWellFormed())) {
    // Not "": what a tenant's id is where nobody has logged in would be a scope of many.
    throw medusaError("invalid_argument", SCOPE, "invalid_option");
  }
  return scope;
}

function nativeOf(request) {
  return request.native ?? request;
}

module.exports = { readRequest };
