"use strict";

const exactlyOnce = require("./exactly-once");
const medusa = require("./medusa");

/**
 * What a mode decides.
 *
 * @typedef {object} Semantics
 * @property {(method: string, payload: unknown) => void} requireColumns refuses what are no columns of a key
 * @property {(context: object, request: object, onInterrupted?: string | Function) => Promise<object>} initialize
 *   begins or finds the request of a key
 * @property {(context: object, request: object, firstStage: import("./first-stage").FirstStage) =>
 *   Promise<{ key: object, lease: import("./leases").Lease }>} begin as `initialize`, but a request that is new may begin
 *   with its first stage, which is done then
 * @property {(context: object, key: unknown, otherwise: (context: object) => T) => import("./leases").Lease | T}
 *   leaseOf the lease that the current attempt has of a key, or what is used where it has none
 * @property {boolean} repeatsThroughLibraries whether a stage whose transaction a library opens is repeated after a
 *   serialization failure
 * @property {(result: unknown) => { stored: object, own: object }} stageResultOf reads what a stage's callback
 *   returned
 * @property {(key: string, answer: object) => { operation: object, own: object }} finishing the operation that
 *   finishes a request, and what the resolved key carries of the caller's own values
 */

/**
 * @param {{ mode: string }} settings
 * @returns {Semantics}
 */
function semanticsOf({ mode }) {
  return mode === "medusa" ? medusa : exactlyOnce;
}

module.exports = { semanticsOf };
