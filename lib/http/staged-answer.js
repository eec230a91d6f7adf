"use strict";

const { validateHeaderName, validateHeaderValue } = require("node:http");
const { medusaError } = require("../errors/errors");
const { requirePlain } = require("../request/stage-results");
const { jsonOf } = require("../values/json");
const { lowerCase } = require("./stored-answer");

const RETURNS = "the work of handle() has to return";
const RESULT = ["recovery_point", "status", "headers", "body"];

const LEAST_STATUS = 200;
const LARGEST_STATUS = 599;
/** A response with one of these ends with its headers. */
const WITHOUT_BODY = [204, 205, 304];

/**
 * Reads what the work of a stage has returned. What could not be sent is refused: its transaction is rolled back,
 * before anything of it is stored for good.
 *
 * @param {unknown} result
 * @returns {{ recovery_point: string } | { answer: import("./stored-answer").Answer }}
 */
function stagedResultOf(result) {
  requirePlain(RETURNS, result, RESULT);
  const { recovery_point, status = 200, headers, body } = result;
  if (recovery_point) {
    return { recovery_point };
  }
  requireStatus(status);
  const answer = { status, ...sent(headersOf(headers), body) };
  if (WITHOUT_BODY.includes(status) && answer.body !== null) {
    throw invalid(`a response with status ${status} has no body`);
  }
  return { answer };
}

function requireStatus(status) {
  if (!Number.isInteger(status) || status < LEAST_STATUS || status > LARGEST_STATUS) {
    const given = typeof status === "number" ? status : `a value of type ${typeof status}`;
    throw invalid(
      `status has to be a whole number from ${LEAST_STATUS} to ${LARGEST_STATUS}, not ${given}`,
    );
  }
}

function headersOf(given = {}) {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw invalid("headers has to be an object of names and values");
  }
  const headers = lowerCase(given);
  for (const [name, value] of Object.entries(headers)) {
    try {
      validateHeaderName(name);
      [value].flat().forEach((text) => validateHeaderValue(name, text));
    } catch {
      throw invalid(`the header ${JSON.stringify(name)} has a name or a value that cannot be sent`);
    }
  }
  return headers;
}

/** The body as it is sent, with its type where that is not given. */
function sent(headers, body) {
  if (body === undefined || body === null) {
    return { headers, body: null };
  }
  if (typeof body === "string") {
    return typed(headers, "text/plain; charset=utf-8", body.toWellFormed());
  }
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) {
    return typed(headers, "application/octet-stream", bytesOf(body));
  }
  const text = jsonOf(body);
  if (text === undefined) {
    throw invalid(`body has no JSON: it is a ${typeof body}`);
  }
  return typed(headers, "application/json", text);
}

function typed(headers, type, body) {
  return body.length === 0
    ? { headers, body: null }
    : { headers: { "content-type": type, ...headers }, body };
}

/** A copy: the work may go on to write to its own. */
function bytesOf(body) {
  const { buffer = body, byteOffset = 0, byteLength } = body;
  return Buffer.from(Buffer.from(buffer, byteOffset, byteLength));
}

function invalid(message) {
  return medusaError("invalid_data", `${RETURNS} what can be sent: ${message}`);
}

module.exports = { stagedResultOf };
