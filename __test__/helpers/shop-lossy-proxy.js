"use strict";

const { startServer } = require("./http-server");

/**
 * Starts an HTTP proxy in front of a backend that loses answers: the backend does its work, and the
 * client's connection breaks.
 *
 * @param {string} target the backend's URL
 * @param {{ losses: number }} options `losses`: how many answers are lost, the first ones
 * @returns {Promise<{ url: string, requests: any[], answers: any[], stop(): Promise<void> }>}
 *   `requests`: method, path and key of what was asked; `answers`: what the backend said to each
 */
async function startLossyProxy(target, { losses }) {
  const requests = [];
  const answers = [];
  const server = await startServer(async (request, response) => {
    requests.push({
      method: request.method,
      path: request.url,
      idempotencyKey: request.headers["idempotency-key"],
    });
    const answer = await forward(target, request).catch(() => undefined);
    answers.push(answer);
    if (!answer || answers.length <= losses) {
      response.destroy();
      return;
    }
    const { "content-type": type = "text/plain" } = answer.headers;
    response.writeHead(answer.status, { "Content-Type": type }).end(answer.text);
  });
  return { ...server, requests, answers };
}

async function forward(target, request) {
  const chunks = [];
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  const { "content-type": type, "idempotency-key": key } = request.headers;
  const headers = {
    ...(type && { "Content-Type": type }),
    ...(key && { "Idempotency-Key": key }),
  };
  const body = chunks.length > 0 ? Buffer.concat(chunks) : undefined;
  const response = await fetch(target + request.url, { method: request.method, headers, body });
  const text = await response.text();
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    text,
    body: JSON.parse(text),
  };
}

module.exports = { startLossyProxy };
