"use strict";

// Answers on Node's response: read from it, and written to it.

/**
 * The headers that a handler has set.
 *
 * @param {import("node:http").ServerResponse} res
 * @param {Record<string, unknown>} given the headers that were there before the handler: what was there sets them
 *   for a replay, too, and may set others then
 * @returns {Record<string, string | string[]>}
 */
function answerHeaders(res, given) {
  const headers = {};
  for (const [name, value] of Object.entries(res.getHeaders())) {
    const isOwn = name === "content-type" || String(given[name]) !== String(value);
    if (isOwn && !name.startsWith(":") && value !== undefined) {
      headers[name] = Array.isArray(value) ? value.map(String) : String(value);
    }
  }
  return headers;
}

/** Whether a response has a body, whatever its handler has written: Node sends none for these. */
function hasBody({ method }, status) {
  return method !== "HEAD" && status !== 204 && status !== 304;
}

/**
 * Sets headers in each of the forms that writeHead() takes.
 *
 * @param {import("node:http").ServerResponse} res
 * @param {object | unknown[] | undefined} headers
 */
function setHeaders(res, headers) {
  if (!Array.isArray(headers)) {
    Object.entries(headers ?? {}).forEach(([name, value]) => res.setHeader(name, value));
    return;
  }
  const flat = Array.isArray(headers[0]) ? headers.flat() : headers;
  const seen = new Set();
  for (let index = 0; index < flat.length; index += 2) {
    const [name, value] = flat.slice(index, index + 2);
    if (seen.has(String(name).toLowerCase())) {
      res.appendHeader(name, value);
    } else {
      seen.add(String(name).toLowerCase());
      res.setHeader(name, value);
    }
  }
}

/**
 * Sends an answer that is not the handler's: a replay, a refusal.
 *
 * @param {import("node:http").ServerResponse} res
 * @param {{ status: number, headers: object, body: Buffer | string | null }} answer
 * @param {Function} [end] in place of the response's own method
 */
function sendAnswer(res, { status, headers, body }, end = (...given) => res.end(...given)) {
  res.statusCode = status;
  // The reason of the handler's own answer. HTTP/2 has none, and warns of who asks.
  if (Object.hasOwn(res, "statusMessage")) {
    res.statusMessage = "";
  }
  setHeaders(res, headers);
  end(body ?? undefined);
}

module.exports = { answerHeaders, hasBody, sendAnswer, setHeaders };
