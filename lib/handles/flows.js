"use strict";

const { codeOf, medusaError } = require("../errors/errors");
const { withStatusOfDriver } = require("../errors/http-errors");
const { notePreparedFailure, prepared } = require("./prepared");

/** The number of the flow that was begun last. */
let last = 0;

/**
 * Drives an operation of the engine's through a manager that JavaScript holds: runs the queries it
 * asks for, and the work of a stage when its time has come.
 *
 * @param {object} session native
 * @param {(flow: number) => object} begin the operation, for its first step
 * @param {{ query(sql: string, parameters: unknown[]): Promise<object[]> }} manager
 * @param {import("../places/work").Work} [work]
 * @returns the native answer; what a query failed with is thrown as it is
 */
async function drive(session, begin, manager, work) {
  last = (last + 1) >>> 0;
  const flow = last;
  let answer = {};
  let step = begin(flow);
  try {
    for (;;) {
      if (Array.isArray(step)) {
        answer = await query(manager, step, work);
        const { rows, error } = answer;
        step = rows
          ? session.withRows(flow, rows.length, ...decisive(rows[0]))
          : session.withFailedQuery(flow, codeOf(error));
      } else if (step === null) {
        step = session.withWork(flow, ...endOf(await work.perform()));
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
async function query(manager, [sql, ...parameters], work) {
  // A callback may have rolled back: the key's new state must not be stored without the work.
  if (!manager.queryRunner?.isTransactionActive) {
    return { error: transactionEnded() };
  }
  try {
    const answer = await manager.query(work ? prepared(manager, sql) : sql, parameters);
    // TypeORM answers an UPDATE with the rows and their number.
    return { rows: Array.isArray(answer[0]) ? answer[0] : answer };
  } catch (error) {
    if (work) {
      notePreparedFailure(manager, sql, error);
    }
    return { error };
  }
}

function transactionEnded() {
  return medusaError(
    "unexpected_state",
    "the transaction of this manager has ended, or has not begun: await every use of it inside " +
      "manager.transaction()",
    "transaction_ended",
  );
}

/** What the engine decides by of a row as `pg` gives it. */
function decisive({ recovery_point, place, token, live, idempotency_key, won, same } = {}) {
  return [recovery_point, place, token, live, idempotency_key, won, same];
}

/** How a stage's work has ended. */
function endOf({ failed, code, recoveryPoint, responseCode, responseBody }) {
  return [failed, code, recoveryPoint, responseCode, responseBody];
}

module.exports = { drive, transactionEnded };
