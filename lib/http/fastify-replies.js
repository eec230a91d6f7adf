"use strict";

const { sendAnswer, setHeaders } = require("./node-answers");

/**
 * Sends the answer of the staged form, as any handler's.
 *
 * @param {object} reply Fastify's
 * @param {{ status: number, headers: object, body: Uint8Array | string | null }} answer
 */
function sendReply(reply, { status, headers, body }) {
  // Bytes, which Fastify serialises no further.
  const payload = body?.length > 0 ? Buffer.from(body) : undefined;
  return reply.code(status).headers(headers).send(payload);
}

/**
 * Sends an answer as it was captured: onSend hooks have seen it then. The headers of other plugins go with it.
 *
 * @param {object} reply Fastify's
 * @param {{ status: number, headers: object, body: Uint8Array | string | null }} answer
 */
function replayReply(reply, answer) {
  reply.hijack();
  setHeaders(reply.raw, reply.getHeaders());
  sendAnswer(reply.raw, answer);
}

module.exports = { replayReply, sendReply };
