"use strict";

const timers = require("node:timers");
const { Answers } = require("../binding");

/** What settles the promises of the calls under way, by their numbers. */
const waiting = new Map();
let last = 0;

/** Keeps the process alive as long as somebody waits: the engine's threads do not. */
const keepAlive = timers.setInterval(() => {}, 2 ** 30).unref();

const answers = new Answers((texts) => {
  for (const text of texts) {
    for (const [call, value, failure] of JSON.parse(text)) {
      take(call)?.({ value, failure });
    }
  }
});

/**
 * Makes a native call whose answer comes together with those of others.
 *
 * @param {(to: [object, number]) => void} begin passes on where the answer is to go
 * @returns {Promise<{ value?: unknown, failure?: object }>} the answer
 */
function ask(begin) {
  return new Promise((resolve) => {
    last = (last + 1) >>> 0;
    const call = last;
    if (waiting.size === 0) {
      keepAlive.ref();
    }
    waiting.set(call, resolve);
    try {
      begin([answers, call]);
    } catch (error) {
      take(call);
      throw error;
    }
  });
}

/** What settles a call, which is under way no more. */
function take(call) {
  const resolve = waiting.get(call);
  waiting.delete(call);
  if (waiting.size === 0) {
    keepAlive.unref();
  }
  return resolve;
}

/** For a call that answers at once. */
const NOBODY = [answers, 0];

module.exports = { NOBODY, ask };
