"use strict";

// Bodies of the Fetch standard's requests and responses, read without being taken from whoever they are for.

/** What is read of a request's body for the comparison, in bytes. */
const COMPARED = 2 ** 20;

/**
 * A request's body for the comparison: JSON as its value, anything else as bytes; of a long one its beginning.
 *
 * @param {Request} request stays readable
 * @returns {Promise<unknown>} undefined if there is none
 */
async function comparedBody(request) {
  if (!request.body || request.bodyUsed) {
    return undefined;
  }
  const { chunks, isWhole, cancel } = await readUpTo(request.clone().body.getReader(), COMPARED);
  cancel();
  const bytes = Buffer.concat(chunks).subarray(0, COMPARED);
  const type = request.headers.get("content-type") ?? "";
  return (isWhole && isJson(type) && jsonOf(bytes)) || withoutBoundary(bytes, type);
}

/**
 * Reads a stream until it ends, or until more than so many bytes have come.
 *
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader
 * @param {number} most
 */
async function readUpTo(reader, most) {
  const chunks = [];
  for (let size = 0; size <= most;) {
    const { done, value } = await reader.read();
    if (done) {
      return { chunks, isWhole: true, cancel() {} };
    }
    const bytes = Buffer.from(value);
    chunks.push(bytes);
    size += bytes.length;
  }
  return { chunks, isWhole: false, cancel: () => void reader.cancel().catch(() => {}) };
}

function isJson(type) {
  return /[/+]json\b/i.test(type);
}

/** @returns undefined for what is none */
function jsonOf(bytes) {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

/** Clients choose another boundary for each try of the same form. */
function withoutBoundary(bytes, type) {
  const [, boundary] = /^multipart\/.*;\s*boundary="?([^";]+)/i.exec(type) ?? [];
  return boundary
    ? Buffer.from(bytes.toString("latin1").replaceAll(boundary, ""), "latin1")
    : bytes;
}

module.exports = { comparedBody, readUpTo };
