"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

const CONFLICT = 409;
const INTERVAL = 100;
/** More than a request that was killed holds its key. */
const TIMEOUT = 30_000;

/**
 * Asks again while the answer is a conflict, as it is while the same request is in progress, or was
 * a moment ago when it was killed. `@medusajs/medusa-js` does so too, at longer intervals.
 *
 * @template {{ status: number }} Answer
 * @param {Answer} answer
 * @param {() => Promise<Answer>} ask
 * @param {AbortSignal} signal
 * @returns {Promise<Answer>} the last answer
 */
async function repeatWhileInConflict(answer, ask, signal) {
  let last = answer;
  for (const end = Date.now() + TIMEOUT; last.status === CONFLICT && Date.now() < end;) {
    await sleep(INTERVAL, undefined, { signal });
    last = await ask();
  }
  return last;
}

module.exports = { CONFLICT, repeatWhileInConflict };
