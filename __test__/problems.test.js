"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { PROBLEMS, problem, problemOf } = require("../lib/http/problem");
const { errorFrom, medusaError } = require("../lib/errors/errors");
const { homepage } = require("../package.json");
const { anchorsOf } = require("./helpers/documents");

const DOCUMENT = "docs/problems.md";
const text = fs.readFileSync(path.join(__dirname, "..", DOCUMENT), "utf8");
const codes = Object.keys(PROBLEMS);

/** The sections of the document, by their headings. */
const sections = Object.fromEntries(
  text
    .split(/^## /m)
    .slice(1)
    .map((section) => {
      const [heading, ...lines] = section.split("\n");
      return [heading, lines.join(" ").trim()];
    }),
);

test("each problem has its section, and none is left over", () => {
  expect(Object.keys(sections)).toEqual(codes);
});

test.each(codes)("%s is described as it is sent", (code) => {
  const { status, title, retry } = PROBLEMS[code];
  const says = `**${title}** (${status}${retry ? ", `Retry-After`" : ""})`;
  expect(sections[code].startsWith(says)).toBe(true);
});

test.each(codes)("%s is sent as problem details", (code) => {
  const { status, headers, body } = problem(code, { instance: "urn:uuid:1" });
  const { title, detail, retry } = PROBLEMS[code];
  const { type, ...members } = JSON.parse(body);
  expect(members).toEqual({ title, status, detail, code, instance: "urn:uuid:1" });
  expect(headers).toEqual({
    "content-type": "application/problem+json",
    ...(retry ? { "retry-after": "1" } : {}),
  });
  const [page, anchor] = type.split("#");
  expect(page).toBe(`${homepage.replace("#readme", "")}/blob/main/${DOCUMENT}`);
  expect(anchorsOf(DOCUMENT)).toContain(anchor);
});

const key = "secret-key";
const target = "db.internal:5432/shop";

test.each([
  ["idempotency_key_in_use", errorFrom({ kind: "in_use", key })],
  ["idempotency_key_reused", errorFrom({ kind: "reused", key })],
  ["idempotency_key_interrupted", errorFrom({ kind: "interrupted", key })],
  ["lease_lost", errorFrom({ kind: "lease_lost", key })],
  ["invalid_idempotency_key", errorFrom({ kind: "invalid_key" })],
  ["request_conflict", errorFrom({ kind: "busy", key })],
  ["request_conflict", errorFrom({ kind: "database", code: "40001", reason: "x" })],
  ["idempotency_unavailable", errorFrom({ kind: "no_answer", code: "57014", target })],
  ["idempotency_unavailable", errorFrom({ kind: "stages_exhausted", running: 4, target })],
  [
    "idempotency_unavailable",
    errorFrom({ kind: "connection_lost", code: "ECONNREFUSED", reason: "refused", target }),
  ],
  ["internal_error", errorFrom({ kind: "database", code: "42P01", reason: "relation secret-key" })],
  ["internal_error", medusaError("invalid_argument", "secret-key")],
  ["internal_error", Object.assign(new Error("secret-key"), { status: 418 })],
  ["internal_error", "secret-key"],
  ["internal_error", undefined],
])("an error is told as %s, and no more of it", (code, error) => {
  const sent = problemOf(error);
  expect(JSON.parse(sent.body).code).toBe(code);
  expect(sent.body).not.toMatch(/secret-key|internal:5432|refused/);
  const instance = problemOf(error, "/requests/1");
  expect(JSON.parse(instance.body).instance).toBe("/requests/1");
});
