"use strict";

const { withStatusOfDriver } = require("../errors/http-errors");
const { transactionEnded } = require("./refusals");

/** The number of the flow that was begun last. */
let last = 0;

/**
 * Drives an operation of the engine's through a handle: runs the queries that it asks for, and the work of a
 * stage when its time has come.
 *
 * @param {object} session native
 * @param {(flow: number) => object} begin the operation, for its first step
 * @param {{ library: import(".").Library, handle: object }} target
 * @param {import("../places/work").Work} [work]
 * @returns the native answer; what a query failed with is thrown as it is
 */
async function drive(session, begin, target, work) {
  last = (last + 1) >>> 0;
  const flow = last;
  let answer = {};
  let step = begin(flow);
  try {
    for (;;) {
      if (Array.isArray(step)) {
        answer = await query(target, step, work);
        const { rows, error } = answer;
        step = rows
          ? session.withRows(flow, rows.length, ...decisive(rows[0]))
          : session.withFailedQuery(flow, target.library.sqlState(error));
      } else if (step === null) {
        step = session.withWork(flow, ...endOf(await work.perform(target.handle)));
      } else {
        break;
      }
    }
  } catch (error) {
    session.giveUp(flow);
    throw error;
  }
  if (typeof step === "boolean") {
    return { value: { key: answer.rows[0], ran: step } };
  }
  if (step.kind === "work" && !answer.rows) {
    throw withStatusOfDriver(answer.error);
  }
  return { failure: step };
}

/** A stage's statements are few and always the same, others may be new each time. */
async function query({ library, handle }, [sql, ...parameters], work) {
  // A callback may have rolled back: the key's new state must not be stored without the work.
  if (!library.isOpen(handle)) {
    return { error: transactionEnded() };
  }
  try {
    return { rows: await library.query(handle, sql, parameters, Boolean(work)) };
  } catch (error) {
    return { error };
  }
}

/** What the engine decides by of a row as `pg` gives it. */
function decisive({ recovery_point, place, token, live, idempotency_key, won, same } = {}) {
  return [recovery_point, place, token, live, idempotency_key, won, same];
}

/** How a stage's work has ended. */
function endOf({ failed, code, recoveryPoint, responseCode, responseBody }) {
  return [failed, code, recoveryPoint, responseCode, responseBody];
}

module.exports = { drive };
