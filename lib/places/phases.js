"use strict";

const { withStatusOfDriver } = require("../errors/http-errors");
const { requireFunction } = require("../values/arguments");

// What Medusa's services do with the errors of a phase of work in a transaction.

/**
 * @typedef {object} PhaseOptions
 * @property {string} [isolation] of a transaction of the phase's own
 * @property {(error: unknown) => boolean} mayRepeat whether the transaction may be repeated after an error
 * @property {(error: unknown) => unknown} [errorHandler] is called with what the phase has failed with
 * @property {boolean} [dontFail] whether a phase in a transaction of its own resolves to the handler's result
 */

/**
 * Reads the arguments of Medusa's atomicPhase_ that come after its work: an isolation level and an error handler;
 * or an error handler, and whether to resolve to its result.
 *
 * @returns {PhaseOptions}
 */
function phaseOptionsFrom(isolationOrErrorHandler, errorHandlerOrDontFail, mayRepeat) {
  if (typeof isolationOrErrorHandler === "function") {
    return {
      mayRepeat,
      errorHandler: isolationOrErrorHandler,
      dontFail: Boolean(errorHandlerOrDontFail),
    };
  }
  const errorHandler = errorHandlerOrDontFail || undefined;
  if (errorHandler) {
    // Before the work: called when it has failed, it would hide what it has failed with.
    requireFunction("atomicPhase_(work, isolation, errorHandler)", errorHandler);
  }
  return { mayRepeat, isolation: isolationOrErrorHandler || undefined, errorHandler };
}

/**
 * A phase in the caller's transaction. The error handler finds it rolled back.
 *
 * @param {() => Promise<unknown>} phase
 * @param {PhaseOptions} options
 * @param {(error: unknown) => Promise<void>} rollBack ends the transaction, if it is open, for what has failed
 */
async function inCallersTransaction(phase, { errorHandler }, rollBack) {
  try {
    return await phase();
  } catch (error) {
    if (errorHandler) {
      await rollBack(error);
      await errorHandler(error);
    }
    throw error;
  }
}

/**
 * A phase in a transaction of its own, which has been rolled back when it fails.
 *
 * @param {() => Promise<unknown>} phase
 * @param {PhaseOptions} options
 */
async function inOwnTransaction(phase, { errorHandler, dontFail }) {
  try {
    return await phase();
  } catch (error) {
    const handled = await errorHandler?.(error);
    if (errorHandler && dontFail) {
      return handled;
    }
    throw error;
  }
}

/**
 * Work in a transaction that a library opens: repeated once, and only at a given isolation level.
 *
 * @param {(work: Function) => Promise<unknown>} begin
 * @param {(manager: object) => unknown} work
 * @param {PhaseOptions} options
 */
async function repeatedOnce(begin, work, { isolation, mayRepeat }) {
  let thrown;
  const noted = async (given) => {
    try {
      return await work(given);
    } catch (error) {
      thrown = error;
      throw error;
    }
  };
  try {
    return await begin(noted).catch((error) => {
      if (isolation && mayRepeat(error)) {
        return begin(noted);
      }
      throw error;
    });
  } catch (error) {
    // What the work has thrown stays as it is.
    throw error === thrown ? error : withStatusOfDriver(error);
  }
}

module.exports = { inCallersTransaction, inOwnTransaction, phaseOptionsFrom, repeatedOnce };
