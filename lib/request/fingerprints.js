"use strict";

const { createHash } = require("node:crypto");
const stringify = require("safe-stable-stringify");
const { jsonOf } = require("../values/json");

/**
 * A digest that tells requests of one route apart: SHA-256 over method, path and body. The order of an object's
 * properties makes no difference.
 *
 * @param {string} method
 * @param {string} path
 * @param {unknown} body as it was parsed; none and `{}` are the same, as they are to body-parser
 * @returns {string} in hexadecimal
 */
function fingerprintOf(method, path, body) {
  const hash = createHash("sha256").update(`${String(method)} ${String(path)}\n`);
  return hash.update(canonical(body)).digest("hex");
}

function canonical(body) {
  if (ArrayBuffer.isView(body)) {
    return body;
  }
  return jsonOf(body ?? {}, stringify) ?? "";
}

module.exports = { fingerprintOf };
