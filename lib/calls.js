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

/** As many calls as go in one statement by default: more are not waited for. */
const MOST = 512;

/** The calls that others may join, by the session that they go through. */
const gatherings = new Map();

/**
 * Makes a native call whose answer comes together with those of others.
 *
 * @param {(to: [object, number]) => void} begin passes on where the answer is to go
 * @returns {Promise<{ value?: unknown, failure?: object }>} the answer
 */
function ask(begin) {
  return new Promise((resolve) => beginCall(begin, numberFor(resolve)));
}

/**
 * The same for a call on the pool. Callers whose answers came together ask again together: their calls
 * share a statement, which is sent as soon as nobody makes another call.
 *
 * @param {object} session native
 * @param {(to: [object, number]) => void} begin
 */
function askTogether(session, begin) {
  return new Promise((resolve) => {
    const call = numberFor(resolve);
    const gathering = gatherings.get(session);
    if (gathering) {
      gathering.join(begin, call);
    } else {
      gatherings.set(session, new Gathering(session, begin, call));
    }
  });
}

/** Calls that go together. */
class Gathering {
  #session;
  #size = 1;
  /** Begins the first call, as long as it is alone: one that nobody joins is not held back. */
  #first;

  constructor(session, begin, call) {
    this.#session = session;
    this.#first = () => beginCall(begin, call);
    void this.#end();
  }

  join(begin, call) {
    this.#size += 1;
    if (this.#first) {
      this.#session.hold();
      this.#first();
      this.#first = undefined;
    }
    beginCall(begin, call);
  }

  async #end() {
    let seen;
    do {
      seen = this.#size;
      // Those who can go on now do so before this does. A timer would have a lone caller wait.
      await undefined;
    } while (this.#size > seen && this.#size < MOST);
    gatherings.delete(this.#session);
    if (this.#first) {
      this.#first();
    } else {
      this.#session.letGo();
    }
  }
}

function beginCall(begin, call) {
  try {
    begin([answers, call]);
  } catch (error) {
    take(call)(Promise.reject(error));
  }
}

/** A number for a call under way. */
function numberFor(resolve) {
  if (waiting.size === 0) {
    keepAlive.ref();
  }
  last = (last + 1) >>> 0;
  waiting.set(last, resolve);
  return last;
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

/** Where the answer of a flow is to go: nowhere, as its steps are answered at once. */
function toFlow(flow) {
  return [answers, flow];
}

module.exports = { ask, askTogether, toFlow };
