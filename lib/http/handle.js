"use strict";

const { isColumnGone, keepsHeaders } = require("../request/optional-columns");
const { FINISHED } = require("../request/recovery-points");
const { checkStages, runToEnd, stageAt } = require("../request/run-stages");
const { namedArguments } = require("../values/arguments");
const { headersOf } = require("../values/keys");
const { clientsKey } = require("../values/scoped-keys");
const { requireLeases } = require("./modes");
const { STAGED, policyFrom } = require("./policy");
const { problem, problemCodeOf, problemCodeOfBeginning } = require("./problem");
const { readRequest } = require("./request");
const { stagedResultOf } = require("./staged-answer");
const { Sent, replayOf, stageResultFor } = require("./stored-answer");
const { warnOfNoProtection } = require("./warnings");

// The staged form: the work of a request gets the transaction that stores its answer.

const SIGNATURE = "handle(request, work)";
const REQUEST = ["key", "method", "path", "query", "params", "body", "scope", "headers", "native"];
const STARTED = "started";

/**
 * Runs the work of a request once, and resolves to its answer: the work's own, the stored one, or why the request is
 * refused.
 *
 * @param {import("../places/context").Context} context
 * @param {import("./request").HttpRequest} request
 * @param {Function | Record<string, Function>} work one function, or a function for each recovery point
 * @param {object} [options] as policyFrom() reads them
 */
async function handle(context, request, work, options) {
  requireLeases(context);
  const policy = policyFrom(options, { defaults: STAGED });
  const given = namedArguments(SIGNATURE, request, REQUEST);
  const stages = stagesOf(work);
  const { shown, refusal, beginning } = await readRequest(policy, given);
  const begun = refusal ? { refusal } : await beginning();
  if (begun.refusal) {
    return resultOf(begun.refusal, shown);
  }
  return new Handling(context, policy, stages).answerTo(begun, shown);
}

function stagesOf(work) {
  if (typeof work === "function") {
    return { [STARTED]: (tx, key, attempt) => work(tx, attempt) };
  }
  checkStages(SIGNATURE, work);
  return work;
}

/** What handle() resolves to. */
function resultOf({ status, headers, body }, idempotency_key, replayed = false) {
  return { status, headers, body, replayed, idempotency_key };
}

/** What a stage fails with whose answer is not to be kept: its work is rolled back with it. */
class NotKept extends Error {
  constructor(answer) {
    super("the answer is not kept");
    this.answer = answer;
  }
}

/** One call of handle(). */
class Handling {
  #context;
  #policy;
  #stages;
  /** Whether any work has begun. */
  #started = false;
  /** How the last work has failed. */
  #failure;

  constructor(context, policy, stages) {
    this.#context = context;
    this.#policy = policy;
    this.#stages = stages;
  }

  /**
   * @param {object} request as it is begun
   * @param {string | null} shown the client's key
   */
  async answerTo(request, shown) {
    try {
      const { key, began } = await runToEnd(this.#context, request, this.#answeringStages());
      const clients = clientsKey(key.idempotency_key);
      if (key.response_body instanceof Sent) {
        return resultOf(key.response_body.answer, clients);
      }
      const stored = began === FINISHED ? key : await this.#found(request, clients);
      const replay = replayOf(stored, headersOf(stored), this.#policy.replayedHeader);
      return resultOf(replay, clients, true);
    } catch (error) {
      return resultOf(await this.#answerToFailure(error), shown);
    }
  }

  /** The key of a request that has been finished elsewhere while this attempt worked on it. */
  async #found(request, key) {
    return this.#context.semantics.initialize(this.#context, { ...request, key }, "retry");
  }

  #answeringStages() {
    const stages = Object.entries(this.#stages);
    return Object.fromEntries(stages.map(([point, stage]) => [point, this.#answering(stage)]));
  }

  /** A stage of runStages() that does the work of one of handle(). */
  #answering(stage) {
    return async (...given) => {
      this.#started = true;
      this.#failure = undefined;
      try {
        const { recovery_point, answer } = stagedResultOf(await stage(...given));
        return recovery_point ? { recovery_point } : await this.#finished(answer);
      } catch (error) {
        this.#failure = { error };
        throw error;
      }
    };
  }

  async #finished(answer) {
    // What somebody else's transaction commits is done, whatever the policy says.
    if (!this.#context.place.isInTransaction && !this.#policy.keep(answer.status)) {
      throw new NotKept(answer);
    }
    return stageResultFor(answer, this.#policy, await keepsHeaders(this.#context));
  }

  /** The answer to a request that has failed. What the work has failed with is thrown. */
  async #answerToFailure(error) {
    if (error instanceof NotKept) {
      return error.answer;
    }
    if (this.#failure && this.#failure.error === error) {
      throw error;
    }
    isColumnGone(this.#context, error);
    const code = this.#started ? problemCodeOf(error) : problemCodeOfBeginning(error);
    if (code === undefined) {
      throw error;
    }
    const isUnprotected = this.#policy.onUnavailable === "run" && !this.#started;
    if (code !== "idempotency_unavailable" || !isUnprotected) {
      return problem(code);
    }
    warnOfNoProtection(error);
    return this.#runUnprotected();
  }

  /** Runs the work with neither a transaction nor an attempt: there is no database. */
  async #runUnprotected() {
    for (let point = STARTED; ;) {
      const { recovery_point, answer } = stagedResultOf(await stageAt(this.#stages, point)());
      if (answer) {
        return answer;
      }
      point = recovery_point;
    }
  }
}

module.exports = { handle };
