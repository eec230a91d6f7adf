"use strict";

// The engine names its errors, and one table has their words: neither knows of the other.

const fs = require("node:fs");
const path = require("node:path");
const { errorFrom } = require("../lib/errors/errors");
const { ERRORS } = require("../lib/errors/table");

const textOf = (file) => fs.readFileSync(path.join(__dirname, "..", file), "utf8");

/** The names that failures cross the bridge with. */
function namesOfTheEngine() {
  const named = textOf("src/node/error.rs").matchAll(/Self::(?:of|about|because)\(\s*"(\w+)"/g);
  return [...new Set([...named].map(([, name]) => name))];
}

/** What the engine may give: a code only with a connection's target. */
const GIVEN = { key: "KEY", target: "TARGET", reason: "REASON", running: 7 };
const CODE = { code: "CODE" };

test("the table has every error of the engine, and no other", () => {
  const names = namesOfTheEngine();
  expect(names.length).toBeGreaterThan(30);
  expect([...Object.keys(ERRORS), "database"].sort()).toEqual(names.sort());
});

test.each(Object.keys(ERRORS))("%s has its words, its code and its status", (kind) => {
  const { type, code, status } = ERRORS[kind];
  const isOfConnection = type === undefined && status === 503;
  const error = errorFrom({ kind, ...GIVEN, ...(isOfConnection && CODE) });
  expect(error.message).toMatch(/\w/);
  expect(error.message).not.toContain("undefined");
  expect(error.status).toBe(status);
  expect(error.type).toBe(type);
  expect(error.code).toBe(isOfConnection ? "CODE" : code);
});

test("docs/errors.md has every code, beside its type", () => {
  const rows = textOf("docs/errors.md").split("\n");
  const isThere = ({ type, code }) =>
    rows.some((row) => row.startsWith(`| \`${type}\` `) && row.includes(`\`${code}\``));
  const coded = Object.values(ERRORS).filter(({ code }) => code);
  expect(coded.filter((entry) => !isThere(entry)).map(({ code }) => code)).toEqual([]);
});

test("a connection lost during COMMIT leaves the outcome unknown, and says so", () => {
  const lost = { kind: "connection_lost", ...GIVEN, duringCommit: true };
  expect(errorFrom(lost).message).toBe(
    "lost or could not reach PostgreSQL at TARGET: REASON; the connection was lost during COMMIT, so " +
      "whether the stage was committed is unknown: read the key to find out",
  );
});

test("a missing table is said to need migrate(), a user's own is not", () => {
  const missing = { kind: "database", code: "42P01", reason: 'relation "x" does not exist' };
  expect(errorFrom({ ...missing, lacksTable: true }).hint).toMatch(/migrate\(\)/);
  expect(errorFrom(missing).hint).toBeUndefined();
});
