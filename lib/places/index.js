"use strict";

const { handleOf, refusal, rootOf } = require("../handles");
const own = require("../handles/own");
const { otherInstallation } = require("../handles/refusals");
const { HandleTransaction } = require("./handle");
const { HandleRoot } = require("./handle-root");
const { OwnTransaction } = require("./own-transaction");
const { Pool } = require("./pool");
const { Refused } = require("./refused");

/**
 * Where the calls of a service run.
 *
 * @typedef {object} Place
 * @property {boolean} isInTransaction whether somebody else ends the transaction that calls run in: then no call
 *   waits for what only its end makes possible
 * @property {(operation: object, lease?: object, long?: string[]) => Promise<import("../bridge/calls").Answer>}
 *   run an operation on keys; `lease` is native, `long` the texts that belong to the operation and are long
 * @property {(key: { text: string, recoveryPoint?: string }, lease: object, work: import("./work").Work) =>
 *   Promise<object>} stage runs a stage of a key's request, and resolves to the key
 * @property {(request: { key?: string, request: object }, lease: object, work: import("./work").Work) =>
 *   Promise<object>} [firstStage] runs the first stage of a request whose key is new in a transaction that inserts
 *   the key, too; only where no transaction is open yet
 * @property {(work: (manager: object) => unknown, options: import("./phases").PhaseOptions) => Promise<unknown>} phase
 *   runs work in a transaction, and resolves to its result
 */

/**
 * Chooses where the calls of a service run.
 *
 * @param {import("./context").Context} context of the service
 * @param {unknown} bound what the service is bound to, if anything
 * @param {unknown} manager through which transactions are opened, if it is a library's root: what the service is
 *   bound to, or else what its container has
 * @returns {Place}
 */
function placeOf(context, bound, manager) {
  const isBound = bound !== undefined && bound !== null;
  const transaction = isBound && transactionOf(context, bound);
  if (transaction) {
    return transaction;
  }
  const root = rootOf(manager);
  if (root) {
    return new HandleRoot(context, root);
  }
  return isBound ? new Refused(() => refusal(bound)) : new Pool(context);
}

/** The transaction that a value is a handle of. */
function transactionOf(context, value) {
  if (own.isOfOtherInstallation(value)) {
    return new Refused(otherInstallation);
  }
  const manager = own.recognise(value);
  if (manager) {
    return new OwnTransaction(manager);
  }
  const target = handleOf(value);
  return target && new HandleTransaction(context, target);
}

module.exports = { placeOf };
