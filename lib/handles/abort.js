"use strict";

/**
 * Rolls back a transaction whose library has no call for that inside of its callback, and has the server refuse
 * everything in it until the library ends it. After a ROLLBACK alone each further statement would be committed by
 * itself.
 *
 * @param {(sql: string) => Promise<unknown>} ask sends a statement in the transaction
 */
async function abort(ask) {
  await ask("ROLLBACK AND CHAIN");
  // There is none of that name: the error is what aborts.
  await ask("ROLLBACK TO SAVEPOINT idempotency_key_rolled_back").catch(() => {});
}

module.exports = { abort };
