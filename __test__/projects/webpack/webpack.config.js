"use strict";

module.exports = {
  mode: "production",
  target: "node",
  entry: "./program.js",
  output: { filename: "program.js" },
  externals: { "medusa-idempotency-key": "commonjs medusa-idempotency-key" },
};
