"use strict";

const { medusaError } = require("./errors");
const { codeOf } = require("./work");

/**
 * Drives an operation of the engine's through a manager that JavaScript holds: runs the queries it
 * asks for, and the work of a stage when its time has come.
 *
 * @param {object} flow the native operation
 * @param {{ query(sql: string, parameters: unknown[]): Promise<object[]> }} manager
 * @param {import("./work").Work} [work]
 * @returns the native answer; what a query failed with is thrown as it is
 */
async function drive(flow, manager, work) {
  let failedQuery;
  let step = flow.begin();
  for (;;) {
    if (step.sql) {
      const { rows, error } = await query(manager, step);
      failedQuery = rows ? undefined : { error };
      step = rows ? flow.withRows(rows.map(rowOf)) : flow.withFailedQuery(codeOf(error));
    } else if (step.work) {
      step = flow.withWork(await work.perform());
    } else {
      break;
    }
  }
  if (failedQuery && step.failure?.kind === "work") {
    throw failedQuery.error;
  }
  return step;
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

/** A row as `pg` gives it; its JSON columns were asked for as text. */
function rowOf(row) {
  return {
    key: {
      id: row.id,
      idempotencyKey: row.idempotency_key,
      createdAt: millisecondsOf(row.created_at),
      lockedAt: millisecondsOf(row.locked_at),
      requestMethod: row.request_method ?? undefined,
      requestParams: row.request_params ?? undefined,
      requestPath: row.request_path ?? undefined,
      responseCode: row.response_code ?? undefined,
      responseBody: row.response_body ?? undefined,
      recoveryPoint: row.recovery_point,
    },
    won: row.won,
  };
}

/** A Date; a number where it is infinite; text where a project has set a parser of its own. */
function millisecondsOf(time) {
  if (time === null || time === undefined) {
    return undefined;
  }
  return Number(typeof time === "string" ? new Date(time) : time);
}

module.exports = { drive, transactionEnded };
