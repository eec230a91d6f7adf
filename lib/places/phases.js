"use strict";

const { withStatusOfDriver } = require("../errors/http-errors");

// Phases of work in transactions of TypeORM's, as Medusa's services run them.

/** A phase in the caller's transaction: the error handler finds it rolled back. */
async function phaseIn(manager, work, errorHandler) {
  try {
    return await work(manager);
  } catch (error) {
    if (errorHandler) {
      if (manager.queryRunner?.isTransactionActive) {
        await manager.queryRunner.rollbackTransaction();
      }
      await errorHandler(error);
    }
    throw error;
  }
}

/** A phase in a transaction of its own: repeated once, and only at a given level. */
async function phaseThrough(manager, work, isolation, mayRepeat) {
  let thrown;
  const noted = async (given) => {
    try {
      return await work(given);
    } catch (error) {
      thrown = error;
      throw error;
    }
  };
  const phase = () =>
    isolation ? manager.transaction(isolation, noted) : manager.transaction(noted);
  try {
    return await phase().catch((error) => {
      if (isolation && mayRepeat(error)) {
        return phase();
      }
      throw error;
    });
  } catch (error) {
    // What the work has thrown stays as it is.
    throw error === thrown ? error : withStatusOfDriver(error);
  }
}

module.exports = { phaseIn, phaseThrough };
