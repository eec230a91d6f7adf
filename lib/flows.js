"use strict";

const { medusaError } = require("./errors");
const { codeOf } = require("./work");

/**
 * Drives an operation of the engine's through a manager that JavaScript holds: runs the queries it
 * asks for, and the work of a stage when its time has come.
 *
 * @param {object} session native
 * @param {object} first step of the operation
 * @param {{ query(sql: string, parameters: unknown[]): Promise<object[]> }} manager
 * @param {import("./work").Work} [work]
 * @returns the native answer; what a query failed with is thrown as it is
 */
async function drive(session, first, manager, work) {
  const { flow } = first;
  let answer = {};
  let step = first;
  try {
    for (;;) {
      if (step.sql) {
        answer = await query(manager, step);
        const { rows, error } = answer;
        step = rows
          ? session.withRows(flow, rows.map(listOf))
          : session.withFailedQuery(flow, codeOf(error));
      } else if (step.work) {
        step = session.withWork(flow, await work.perform());
      } else {
        break;
      }
    }
  } catch (error) {
    session.giveUp(flow);
    throw error;
  }
  const { failure, ran } = step;
  if (!failure) {
    return { value: { key: answer.rows[0], ran } };
  }
  if (failure.kind === "work" && !answer.rows) {
    throw answer.error;
  }
  return { failure };
}

async function query(manager, { sql, parameters }) {
  // A callback may have rolled back: the key's new state must not be stored without the work.
  if (!manager.queryRunner?.isTransactionActive) {
    return { error: transactionEnded() };
  }
  try {
    const answer = await manager.query(sql, parameters);
    // TypeORM answers an UPDATE with the rows and their number.
    return { rows: Array.isArray(answer[0]) ? answer[0] : answer };
  } catch (error) {
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
function listOf({ recovery_point, place, token, live, idempotency_key, won, same }) {
  return [recovery_point, place, token, live, idempotency_key, won, same];
}

module.exports = { drive, transactionEnded };
