"use strict";

const { Readable } = require("node:stream");

// What the application of each adapter answers at its routes. A route does its work first: `work(name, body)`.

const JSON_BODY = { z: 1, a: ["ä", null], nested: { b: 2, a: 1 } };
const TEXT = "plain text, ü\n";
const BYTES = Buffer.from([0, 1, 2, 0, 255, 254, 0]);
const CHUNKS = ["first,", "second,", "ü"];
/** Longer than LIMIT. */
const LARGE = Array.from({ length: 40 }, (_, index) => String(index % 10).repeat(8192));
/** The option maxResponseBytes. */
const LIMIT = 64 * 1024;

const streamOf = (chunks) => Readable.from(chunks.map((chunk) => Buffer.from(chunk)));

/** @returns {ReadableStream<Uint8Array>} */
const webStreamOf = (chunks) => Readable.toWeb(streamOf(chunks));

/** What the staged route does in its transaction. */
async function stagedOrder(work, tx, { id }, body) {
  await work(id, body);
  await tx.query("INSERT INTO effects (name) VALUES ($1)", [`order ${id}`]);
  if (id === "broken") {
    throw new Error("the stage fails");
  }
  const status = id === "refused" ? 400 : 201;
  const filling = id === "large" ? LARGE : null;
  return {
    status,
    headers: { "X-Order": id },
    body: { order: id, items: body.items ?? null, filling },
  };
}

/** The answers of the routes, as the tests expect them: status, body, and headers that are replayed. */
const ANSWERS = {
  json: [
    201,
    JSON.stringify(JSON_BODY),
    { "content-type": /^application\/json/, location: "/json/1", "x-own": "yes" },
  ],
  text: [200, TEXT, { "content-type": /^text\/plain/ }],
  bytes: [200, BYTES, { "content-type": /^application\/octet-stream/ }],
  stream: [200, CHUNKS.join(""), { "content-type": /^text\/plain/ }],
  empty: [204, "", {}],
  redirect: [303, undefined, { location: "/elsewhere" }],
  "not-modified": [304, "", { etag: '"v1"' }],
  refused: [400, JSON.stringify({ error: "refused" }), { "content-type": /^application\/json/ }],
  teapot: [418, undefined, {}],
};

module.exports = {
  ANSWERS,
  BYTES,
  CHUNKS,
  JSON_BODY,
  LARGE,
  LIMIT,
  TEXT,
  stagedOrder,
  streamOf,
  webStreamOf,
};
