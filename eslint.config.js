"use strict";

const js = require("@eslint/js");
const globals = require("globals");

module.exports = [
  {
    ignores: [
      "target/",
      "artifacts/",
      "**/dist/",
      "**/node_modules/",
      "__test__/libraries/*/generated/",
      "examples/next/.next/",
      "examples/prisma/generated/",
    ],
  },
  js.configs.recommended,
  {
    files: ["**/*.js"],
    languageOptions: { sourceType: "commonjs", globals: globals.node },
    rules: {
      curly: "error",
      eqeqeq: "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "no-var": "error",
      "prefer-const": "error",
      strict: ["error", "global"],
    },
  },
  { files: ["**/*.mjs"], languageOptions: { sourceType: "module", globals: globals.node } },
  {
    files: [
      "__test__/projects/{esbuild,esm,next,webpack}/**/*.js",
      "examples/{express,fastify,hono,nest,next,prisma}/**/*.js",
    ],
    ignores: ["**/webpack.config.js"],
    languageOptions: {
      sourceType: "module",
      parserOptions: { ecmaFeatures: { jsx: true } },
    },
  },
  { files: ["__test__/**/*.js"], languageOptions: { globals: globals.jest } },
];
