"use strict";

/**
 * Sends an answer that is not the handler's.
 *
 * @param {object} reply Fastify's
 * @param {{ status: number, headers: object, body: Uint8Array | string | null }} answer
 */
function sendReply(reply, { status, headers, body }) {
  // Bytes, which Fastify serialises no further.
  const payload = body?.length > 0 ? Buffer.from(body) : undefined;
  return reply.code(status).headers(headers).send(payload);
}

module.exports = { sendReply };
