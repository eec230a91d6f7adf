"use strict";

// Not the global, which tests replace.
const { setImmediate } = require("node:timers");

/** The end of the turn for all who wait for it. */
let end;

/**
 * Resolves when everything that has arrived meanwhile has been read: the requests of one turn of the event loop ask
 * for their keys together, in one statement and with one native call, and so do their answers that are to be stored.
 * One promise for all, as Node empties the queue of promises between two immediates.
 */
function turn() {
  end ??= new Promise((resolve) => {
    setImmediate(() => {
      end = undefined;
      resolve();
    });
  });
  return end;
}

module.exports = { turn };
