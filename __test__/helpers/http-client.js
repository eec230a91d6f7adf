"use strict";

const http = require("node:http");

/**
 * Asks a server, as a client that may hang up.
 *
 * @param {string} url
 * @param {{ key?: string, body?: unknown, agent?: http.Agent, headers?: object }} [options]
 * @returns {{ response: Promise<http.IncomingMessage>, answer: Promise<object>, hangUp(): void, isReused(): boolean }} `answer` rejects once the client has hung up
 */
function ask(url, { key, body = {}, agent = false, method = "POST", headers } = {}) {
  const all = { ...headersFor(key), ...headers };
  const request = http.request(url, { method, agent, headers: all });
  const response = new Promise((resolve, reject) => {
    request.once("error", reject);
    request.once("response", resolve);
  });
  const answer = response.then(whole);
  // Whoever hangs up does not care how it ends.
  answer.catch(() => {});
  request.end(method === "GET" ? undefined : JSON.stringify(body));
  return {
    response,
    answer,
    hangUp: () => request.destroy(),
    isReused: () => request.reusedSocket,
  };
}

function headersFor(key) {
  const headers = { "Content-Type": "application/json" };
  return key === undefined ? headers : { ...headers, "Idempotency-Key": key };
}

async function whole(response) {
  const chunks = [];
  for await (const chunk of response) {
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  const text = bytes.toString();
  const { statusCode: status, statusMessage: reason, headers, trailers } = response;
  return { status, reason, headers, trailers, bytes, text, body: jsonOrNull(text) };
}

function jsonOrNull(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Of one response or of its connection: Node makes them anew. */
const OF_ONE = [
  "connection",
  "content-length",
  "date",
  "idempotent-replayed",
  "keep-alive",
  "set-cookie",
  "transfer-encoding",
];

/** The headers that a replay has as the first answer had them. */
function lastingHeaders(headers) {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !OF_ONE.includes(name)));
}

module.exports = { ask, lastingHeaders };
