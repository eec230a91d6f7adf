"use strict";

const { isUtf8 } = require("node:buffer");
const { StageResult } = require("../request/stage-results");
const { problem } = require("./problem");

// An answer as the table keeps it: its body as the exact text, so that a replay has the same bytes, which jsonb would
// put into another order; what is no text in an envelope; its headers in a column of their own, if the table has it.

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {Record<string, string | string[]>} headers
 * @property {Buffer | string | null} body null if there is none
 */

/** The envelope's properties. No text is an envelope, so no body is taken for one. */
const ENCODING = ":encoding";
const BODY = ":body";
const TRUNCATED = ":truncated";

/** Of the connection, of this one response, or of one client: none of a replay. */
const NEVER_KEPT = new Set([
  "connection",
  "content-length",
  "date",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-connection",
  "set-cookie",
  "set-cookie2",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * @param {{ status: number, headers?: object, body?: Uint8Array | string | null, truncated?: boolean }} answer
 *   `truncated`: the body is too long, and was not collected
 * @param {{ maxResponseBytes: number, replayedHeader?: string }} policy
 * @returns {{ code: number, body: unknown, headers: object }} `body` and `headers` are JSON values
 */
function storedForm({ status, headers, body, truncated }, policy) {
  const isTooLong = truncated || lengthOf(body) > policy.maxResponseBytes;
  return {
    code: status,
    body: isTooLong ? { [TRUNCATED]: true } : storedBody(body),
    headers: keptHeaders(headers, policy.replayedHeader),
  };
}

function lengthOf(body) {
  return typeof body === "string" ? Buffer.byteLength(body) : (body?.length ?? 0);
}

function storedBody(body) {
  if (lengthOf(body) === 0) {
    return null;
  }
  const text = typeof body === "string" ? body.toWellFormed() : textOf(bytesOf(body));
  // PostgreSQL has no text with U+0000.
  return text === undefined || text.includes("\0")
    ? { [ENCODING]: "base64", [BODY]: bytesOf(body).toString("base64") }
    : text;
}

function bytesOf(body) {
  return typeof body === "string"
    ? Buffer.from(body)
    : Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}

function textOf(bytes) {
  return isUtf8(bytes) ? bytes.toString() : undefined;
}

/** Headers with names in lower case, without those that are of one response only. */
function keptHeaders(headers = {}, replayedHeader) {
  const all = Object.entries(lowerCase(headers));
  const { connection = "" } = Object.fromEntries(all);
  const named = String(connection)
    .toLowerCase()
    .split(/[\s,]+/);
  const isKept = ([name]) =>
    !NEVER_KEPT.has(name) && !named.includes(name) && name !== replayedHeader;
  return Object.fromEntries(all.filter(isKept));
}

/** @param {object} headers whose values may be numbers, or missing */
function lowerCase(headers) {
  const given = Object.entries(headers).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [name.toLowerCase(), textsOf(value)]));
}

function textsOf(value) {
  return Array.isArray(value) ? value.map(String) : String(value);
}

/** The answer that a stage has finished with, as its key's body. */
class Sent {
  constructor(answer) {
    this.answer = answer;
  }
}

/** Whether a body is compressed, say: without its headers nobody can read it. */
function isEncoded({ headers = {} }) {
  const { "content-encoding": encoding = "identity" } = lowerCase(headers);
  return String(encoding) !== "identity";
}

/**
 * The result of a stage that finishes its request with an answer.
 *
 * @param {Answer} answer
 * @param {object} policy
 * @param {boolean} keepsHeaders whether the table has the column for them
 */
function stageResultFor(answer, policy, keepsHeaders) {
  const isUnreadable = !keepsHeaders && isEncoded(answer);
  const stored = isUnreadable ? { ...answer, truncated: true } : answer;
  const { code, body, headers } = storedForm(stored, policy);
  return new StageResult({
    stored: {
      responseCode: String(code),
      responseBody: body === null ? undefined : JSON.stringify(body),
      responseHeaders: keepsHeaders ? JSON.stringify(headers) : undefined,
    },
    own: { response_body: new Sent(answer) },
  });
}

/**
 * The answer to a retry.
 *
 * @param {{ response_code: number | null, response_body: unknown }} key
 * @param {object | undefined} headers the kept ones, if there are
 * @param {string | undefined} replayedHeader
 * @returns {Answer}
 */
function replayOf({ response_code, response_body }, headers, replayedHeader) {
  const status = response_code ?? 200;
  const answer = isEnvelope(response_body, TRUNCATED)
    ? notKept(status, headers)
    : { status, ...bodyAndHeaders(response_body, headers) };
  if (replayedHeader) {
    answer.headers[replayedHeader] = "true";
  }
  return answer;
}

/** The request is done, but its answer was too long, or could not be read without the headers. */
function notKept(status, { location } = {}) {
  const answer = problem("idempotency_answer_not_kept", { original_status: status });
  return { ...answer, headers: { ...answer.headers, ...(location ? { location } : {}) } };
}

function bodyAndHeaders(stored, headers) {
  const { body, type } = bodyAndType(stored);
  const guessed = body === null ? {} : { "content-type": type };
  return { headers: { ...(headers ?? guessed) }, body };
}

/** A body, and what its type is likely to be. */
function bodyAndType(stored) {
  if (stored === null || stored === undefined) {
    return { body: null };
  }
  if (typeof stored === "string") {
    return {
      body: stored,
      type: isJson(stored) ? "application/json" : "text/plain; charset=utf-8",
    };
  }
  if (isEnvelope(stored, ENCODING)) {
    return { body: Buffer.from(stored[BODY], "base64"), type: "application/octet-stream" };
  }
  // What runStages(), finish() or update() has stored.
  return { body: JSON.stringify(stored), type: "application/json" };
}

function isJson(text) {
  if (!/^\s*[[{]/.test(text)) {
    return false;
  }
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function isEnvelope(value, name) {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name);
}

module.exports = { Sent, lowerCase, replayOf, stageResultFor, storedForm };
