"use strict";

const { ask } = require("../bridge/calls");
const { withStatusOfDriver } = require("../errors/http-errors");
const { sqlStateOf } = require("../errors/sql-state");
const { transactionEnded } = require("./refusals");

/** The number of the operation that was begun last. */
let last = 0;

/**
 * Drives an operation of the engine's through a handle: runs the queries that it asks for, and the work of a
 * stage when its time has come.
 *
 * @param {object} operations native
 * @param {(number: number) => string[]} begin the operation of this number, for its first step
 * @param {{ library: import(".").Library, handle: object, guard?: import("./guard").Guard }} target
 * @param {{ lease?: object, work?: import("../places/work").Work }} [given] the native lease of the attempt, and
 *   the work of a stage
 * @returns {Promise<{ value?: object, outcome?: string, failure?: object }>} the native answer; what a query
 *   failed with is thrown as it is
 */
async function drive(operations, begin, target, { lease, work } = {}) {
  last = (last + 1) >>> 0;
  const number = last;
  const resume = (given, body) => operations.resume(number, JSON.stringify(given), body);
  let answer = {};
  try {
    let step = begin(number);
    for (;;) {
      switch (step[0]) {
        case "query":
          answer = await query(target, step, work);
          step = resume(answerForEngine(answer));
          break;
        case "work": {
          const { responseBody, ...done } = await work.perform(target.handle, answer.rows?.[0]);
          step = resume({ work: done }, responseBody);
          break;
        }
        case "wait":
          await ask((to) => lease.changeEnded(...to));
          step = resume("waited");
          break;
        default:
          return resultOf(step, answer);
      }
    }
  } catch (error) {
    operations.abandon(number);
    throw error;
  }
}

/** A stage's statements are few and always the same, others may be new each time. */
async function query({ library, handle, guard }, [, sql, ...parameters], work) {
  // A callback may have rolled back: the key's new state must not be stored without the work.
  if (!library.isOpen(handle)) {
    return { error: transactionEnded() };
  }
  try {
    if (guard) {
      parameters.push(await guard.number());
    }
    const rows = await library.query(handle, sql, parameters, Boolean(work));
    // In another transaction a guarded statement finds nothing.
    if (guard && rows.length === 0 && !(await guard.goesOn())) {
      return { error: transactionEnded() };
    }
    return { rows };
  } catch (error) {
    return { error };
  }
}

/** What the engine learns of a query's answer: of its rows, as `pg` gives them, what it decides by. */
function answerForEngine({ rows, error }) {
  if (!rows) {
    return { failed: { code: sqlStateOf(error) } };
  }
  return { rows: { count: rows.length, first: rows[0] && decisive(rows[0]) } };
}

function decisive({ recovery_point, location, token, live, idempotency_key, won, same }) {
  return { recovery_point, location, token, live, idempotency_key, won, same };
}

/** The result of an operation whose last step and last query's answer these are. */
function resultOf([name, text], { rows, error }) {
  if (name === "done") {
    return { value: rows[0], outcome: text ?? undefined };
  }
  const failure = JSON.parse(text);
  if (failure.kind === "work" && !rows) {
    throw withStatusOfDriver(error);
  }
  return { failure };
}

module.exports = { drive };
