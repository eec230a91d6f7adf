"use strict";

// What a client is told of a request that is refused: problem details (RFC 9457). docs/problems.md has a section
// for each, to which its `type` leads; a test compares the two.

const DOCUMENTATION =
  "https://github.com/medusa-idempotency-key/medusa-idempotency-key/blob/main/docs/problems.md";

const MEDIA_TYPE = "application/problem+json";

/** Seconds. A request in progress is mostly done by then. */
const RETRY_AFTER = "1";

/**
 * @typedef {object} Problem
 * @property {number} status
 * @property {string} title
 * @property {string} detail says what happened and what to do; never what a request has brought
 * @property {boolean} [retry] whether the same request may succeed later
 */

/** @type {Record<string, Problem>} by the code that a client can test */
const PROBLEMS = {
  idempotency_key_required: {
    status: 400,
    title: "Idempotency key is missing",
    detail:
      "This operation requires an idempotency key. Send a new UUID as the key, and the same one with a retry.",
  },
  invalid_idempotency_key: {
    status: 400,
    title: "Idempotency key is malformed",
    detail: "An idempotency key has to be 1 to 255 visible ASCII characters, best a UUID.",
  },
  invalid_request: {
    status: 400,
    title: "Request cannot be compared",
    detail:
      "The request has a value that cannot be stored for a comparison with its retries, such as the character U+0000 " +
      "or a value that is nested too deeply.",
  },
  idempotency_key_in_use: {
    status: 409,
    title: "Request is in progress",
    detail:
      "A request with this idempotency key is in progress. Send the same request later to get its answer.",
    retry: true,
  },
  idempotency_key_interrupted: {
    status: 409,
    title: "Request was interrupted",
    detail:
      "The request with this idempotency key was interrupted, so what it did may have happened. It is not tried again " +
      "until somebody has looked into it. Ask whoever runs this service.",
  },
  lease_lost: {
    status: 409,
    title: "Request has gone on elsewhere",
    detail:
      "A retry of the request has taken it over. Send the same request again to get its answer.",
    retry: true,
  },
  request_conflict: {
    status: 409,
    title: "Request met another one",
    detail:
      "The request was not done because of others at the same time. Send the same request again.",
    retry: true,
  },
  idempotency_answer_not_kept: {
    status: 410,
    title: "Answer was not kept",
    detail:
      "The request with this idempotency key is done, and is not done again. Its answer could not be kept.",
  },
  idempotency_key_reused: {
    status: 422,
    title: "Idempotency key is used already",
    detail:
      "The idempotency key was used for another request. Use a new key for a new request; send a retry unchanged.",
  },
  internal_error: {
    status: 500,
    title: "Request failed",
    detail:
      "The request failed, and whether it was done is unknown. Send the same request again to find out.",
  },
  idempotency_unavailable: {
    status: 503,
    title: "Idempotency keys are unavailable",
    detail:
      "The store of idempotency keys cannot be reached. Send the same request later, with the same key.",
    retry: true,
  },
};

/** SQLSTATEs of requests that have met another one, and of locks that were waited for in vain. */
const CONFLICTS = ["40001", "40P01", "55P03"];

/** Those of them that say nothing of a failure. */
const REFUSALS = new Set([
  "invalid_idempotency_key",
  "idempotency_key_in_use",
  "idempotency_key_interrupted",
  "idempotency_key_reused",
  "lease_lost",
]);

/**
 * The problem that an error is, if a client is to know it.
 *
 * @param {unknown} error
 * @returns {keyof typeof PROBLEMS | undefined} undefined for a failure that is the server's own
 */
function problemCodeOf(error) {
  const { code, status } = Object(error);
  if (REFUSALS.has(code)) {
    return code;
  }
  if (CONFLICTS.includes(code)) {
    return "request_conflict";
  }
  return status === 503 ? "idempotency_unavailable" : undefined;
}

/**
 * The same for what a request has failed with before any work was done: then a value of the request's own may be
 * what the database refuses.
 */
function problemCodeOfBeginning(error) {
  return problemCodeOf(error) ?? (Object(error).status === 400 ? "invalid_request" : undefined);
}

/**
 * The answer to a request that has failed with an error of this package's. Of any other it says nothing.
 *
 * @param {unknown} error
 * @param {string} [instance] a URI reference of this occurrence
 * @returns {{ status: number, headers: Record<string, string>, body: string }}
 */
function problemOf(error, instance) {
  return problem(problemCodeOf(error) ?? "internal_error", { instance });
}

/**
 * @param {keyof typeof PROBLEMS} code
 * @param {object} [members] further ones
 */
function problem(code, members = {}) {
  const { status, title, detail, retry } = PROBLEMS[code];
  return {
    status,
    headers: { "content-type": MEDIA_TYPE, ...(retry ? { "retry-after": RETRY_AFTER } : {}) },
    body: JSON.stringify({
      type: `${DOCUMENTATION}#${code}`,
      title,
      status,
      detail,
      code,
      ...members,
    }),
  };
}

module.exports = { PROBLEMS, problem, problemCodeOf, problemCodeOfBeginning, problemOf };
