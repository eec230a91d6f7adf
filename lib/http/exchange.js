"use strict";

const { setTimeout: sleep } = require("node:timers/promises");
const { performance } = require("node:perf_hooks");
const { begin } = require("../request/attempt");
const { isColumnGone, keepsHeaders } = require("../request/optional-columns");
const { FINISHED } = require("../request/recovery-points");
const { RequestContext, runInRequest } = require("../request/request-context");
const { headersOf } = require("../values/keys");
const { requireLeases } = require("./modes");
const { policyFrom } = require("./policy");
const { problem, problemCodeOf, problemCodeOfBeginning } = require("./problem");
const { readRequest } = require("./request");
const { replayOf, stageResultFor } = require("./stored-answer");
const { turn } = require("./turn");
const { warnOfNoProtection } = require("./warnings");

// The capturing form: one request whose handler knows nothing of its key. Adapters drive it, through whatever copy
// of this package their service is of.

/** By which a service begins the exchange of a request. */
const EXCHANGE = Symbol.for("medusa-idempotency-key.exchange");

/** Milliseconds between two tries to store an answer while the database cannot be reached. */
const PAUSE = 250;

/** The handler has ended the request itself, by update() or release(). */
const ENDED = ["idempotency_key_finished", "idempotency_key_released"];

/**
 * Begins the exchange of a request.
 *
 * @param {object} service
 * @param {object} policy as policyFrom() returns it
 * @param {import("./request").HttpRequest} request
 * @returns {Promise<Exchange>} rejects with what is no refusal: a mistake, or a fault
 */
function open(service, policy, request) {
  return service[EXCHANGE](policy, request);
}

/**
 * @typedef {object} Exchange
 * @property {"pass" | "answer" | "run"} kind what the adapter has to do: run the handler and nothing else; send
 *   `answer`; or run the handler in `run()`, and then `finish()` or `release()`
 * @property {import("./stored-answer").Answer} [answer]
 * @property {string} [idempotencyKey] the client's key
 */

/**
 * What `open()` asks the service for.
 *
 * @param {import("../places/context").Context} context of the service
 */
async function openExchange(context, options, request) {
  requireLeases(context);
  const policy = policyFrom(options);
  if (!policy.methods.includes(String(request.method).toUpperCase())) {
    return { kind: "pass" };
  }
  const { key, shown, refusal, beginning } = await readRequest(policy, request);
  if (!refusal && key === undefined) {
    return { kind: "pass" };
  }
  const asked = refusal ? { refusal } : await beginning();
  const answer = (sent) => ({ kind: "answer", answer: sent, idempotencyKey: shown ?? undefined });
  if (asked.refusal) {
    return answer(asked.refusal);
  }
  const current = new RequestContext(requestOf(asked, request), asked.fingerprint);
  try {
    const attempt = await runInRequest(current, () => begin(context, asked));
    if (attempt.began !== FINISHED) {
      return new Running(context, policy, { attempt, current, idempotencyKey: shown });
    }
    return answer(replayOf(attempt.key, headersOf(attempt.key), policy.replayedHeader));
  } catch (error) {
    const code = problemCodeOfBeginning(error);
    if (code === undefined) {
      throw error;
    }
    if (code !== "idempotency_unavailable" || policy.onUnavailable === "refuse") {
      return answer(problem(code));
    }
    warnOfNoProtection(error);
    return { kind: "pass" };
  }
}

/** The request as calls within it know it. */
function requestOf({ method, path }, { native, body }) {
  const { baseUrl, route } = Object(native);
  return { method, url: path, body, baseUrl, route };
}

/** An exchange whose handler runs. */
class Running {
  kind = "run";
  idempotencyKey;
  #context;
  #policy;
  #attempt;
  #current;

  constructor(context, policy, { attempt, current, idempotencyKey }) {
    this.#context = context;
    this.#policy = policy;
    this.#attempt = attempt;
    this.#current = current;
    this.idempotencyKey = idempotencyKey;
  }

  /** Runs a function in the asynchronous context of the request: service calls in it belong to this attempt. */
  run(work) {
    return runInRequest(this.#current, work);
  }

  /**
   * Stores the answer, or releases the request if it is not to be kept. If this rejects, nothing is stored, and
   * `problemOf(error)` is to be sent in place of the answer.
   *
   * @param {{ status: number, headers?: object, body?: Uint8Array | string | null, truncated?: boolean }} answer
   *   `truncated`: the body is longer than `maxResponseBytes`, and was not collected
   */
  async finish(answer) {
    try {
      if (this.#policy.keep(answer.status)) {
        await this.#store(answer);
      }
    } catch (error) {
      if (!ENDED.includes(error?.code)) {
        // Not released: the work is done, and its retry would do it again at once.
        this.#current.abandon();
        throw error;
      }
    }
    await this.#current.end();
  }

  /** Ends the attempt of a handler that has failed, so that the request can be tried again. Never rejects. */
  async release() {
    await this.#current.end();
  }

  /** Stores an answer. A server that cannot be reached is waited for: the work is done already. */
  async #store(answer) {
    const until = performance.now() + this.#context.settings.leaseTimeout;
    for (;;) {
      try {
        const result = stageResultFor(answer, this.#policy, await keepsHeaders(this.#context));
        await turn();
        await this.run(() => this.#attempt.finish(result));
        return;
      } catch (error) {
        const mayTryAgain =
          isColumnGone(this.#context, error) || problemCodeOf(error) === "idempotency_unavailable";
        if (!mayTryAgain || performance.now() + PAUSE > until) {
          throw error;
        }
        await sleep(PAUSE);
      }
    }
  }
}

module.exports = { EXCHANGE, open, openExchange };
