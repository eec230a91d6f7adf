"use strict";

const timers = require("node:timers");
const { Answers, scopeOf } = require("./binding");
const { Waiting } = require("./waiting");

/**
 * The calls under way, by their numbers: what settles the promise of each, and what does its work, if it has one.
 */
const waiting = new Waiting();

/** Keeps the process alive as long as somebody waits: the engine's threads do not. */
const keepAlive = timers.setInterval(() => {}, 2 ** 30).unref();

/** Where answers go; or why they cannot. */
let answers;
let failure;
let opening;

/**
 * Opens the way for answers. In a promise's continuation, where no test is on the stack: else Jest
 * takes it for something that the test has left open (`--detectOpenHandles`).
 */
function open() {
  opening ??= Promise.resolve().then(() => {
    try {
      answers = new Answers(settle);
    } catch (error) {
      failure = error;
      opening = undefined;
    }
  });
  return opening;
}

// Now, as what the way is opened in stays with it: the async context of a request would, too.
void open();

/** Does something as soon as the way for answers is open: mostly at once. */
function whenOpen(begin) {
  if (answers) {
    begin();
  } else {
    void open().then(begin);
  }
}

function toAnswers() {
  if (!answers) {
    throw failure;
  }
  return answers;
}

/** What stands for the outcome of a call that asks for its work. */
const WORK = "work";

function settle(texts) {
  for (const text of texts) {
    for (const answer of JSON.parse(text)) {
      // By their indices: to destructure the list would take an iterator.
      if (answer[3] === WORK) {
        doWork(answer[0], answer[1]);
      } else {
        take(answer[0])?.({ value: answer[1], failure: answer[2], outcome: answer[3] });
      }
    }
  }
}

/** Does the work of a call, and tells the engine how it ended. */
function doWork(call, row) {
  const scope = scopeOf(answers, call);
  if (scope) {
    const told = waiting.get(call).perform(scope, row);
    void told.then((done) => answers.workDone(call, done));
  }
}

/** As many calls as go in one statement by default: more are not waited for. */
const MOST = 512;

/** The calls that others may join, by the native service that they go through. */
const gatherings = new Map();

/**
 * @typedef {object} Answer
 * @property {unknown} [value] what the call resolves to
 * @property {object} [failure] why it has failed
 * @property {string} [outcome] what became of it, where there is more than one possibility: `"begun"`,
 *   `"taken_over_released"`, `"taken_over_interrupted"`, `"held"`, `"replayed"`, `"abandoned"`; of a stage `"ran"`,
 *   `"passed"`, `"replayed"`
 */

/**
 * Makes a native call.
 *
 * @param {(to: [object, number]) => void} begin passes on where the answer is to go
 * @param {(scope: object, row: unknown) => Promise<object>} [perform] does the call's work in a native scope. Never
 *   rejects: resolves to what the engine has to know
 * @returns {Promise<Answer>}
 */
function ask(begin, perform) {
  return new Promise((resolve) => {
    const call = numberFor(resolve, perform);
    whenOpen(() => beginCalls([[call]], () => begin([toAnswers(), call])));
  });
}

/**
 * Asks for an operation on a key, in a transaction of the engine's.
 *
 * @param {object} scope native
 * @param {object} operation
 * @param {object} [lease] native, of the attempt that asks
 * @param {[params?: string, body?: string]} [long] what belongs to the operation, and is long
 */
function askIn(scope, operation, lease, long) {
  return new Promise((resolve) => {
    const calls = new Calls();
    calls.add(resolve, operation, lease, long);
    whenOpen(() => calls.begin(scope));
  });
}

/**
 * The same on the pool. Callers whose answers came together ask again together: their calls share a
 * statement, which is sent as soon as nobody makes another call.
 */
function askTogether(service, operation, lease, long) {
  return new Promise((resolve) => {
    const others = gatherings.get(service);
    const calls = others ?? new Calls();
    calls.add(resolve, operation, lease, long);
    if (!others) {
      gatherings.set(service, calls);
      calls.begun = beginTogether(service, calls);
    }
  });
}

/** Resolves when the calls that have been made through a service have begun. */
function allBegun(service) {
  return gatherings.get(service)?.begun;
}

async function beginTogether(service, calls) {
  if (!answers) {
    await open();
  }
  let seen;
  do {
    seen = calls.size;
    // Those who can go on now do so before this does. A timer would have a lone caller wait.
    await undefined;
  } while (calls.size > seen && calls.size < MOST);
  gatherings.delete(service);
  calls.begin(service);
}

/** Operations that cross the door together: one native call costs as much as some operations. */
class Calls {
  #list = [];
  #leases = [];
  #long = [];

  get size() {
    return this.#list.length;
  }

  add(resolve, operation, lease, long) {
    const held = lease ? this.#leases.push(lease) - 1 : null;
    const place = long ? this.#long.push(long) - 1 : null;
    this.#list.push([numberFor(resolve), operation, held, place]);
  }

  begin(target) {
    const calls = this.#list;
    const leases = this.#leases;
    const long = this.#long;
    this.#list = [];
    this.#leases = [];
    this.#long = [];
    for (const [text, some] of textsOf(calls)) {
      beginCalls(some, () => target.begin(toAnswers(), text(), leases, long));
    }
  }
}

/** One text for all calls; or one for each, if what one of them brings makes that impossible. */
function textsOf(calls) {
  try {
    const text = JSON.stringify(calls);
    return [[() => text, calls]];
  } catch {
    return calls.map((call) => [() => JSON.stringify([call]), [call]]);
  }
}

/** Begins calls; what keeps them from beginning is thrown to those who made them. */
function beginCalls(calls, begin) {
  try {
    begin();
  } catch (error) {
    for (const [number] of calls) {
      take(number)?.(Promise.reject(error));
    }
  }
}

/** A number for a call under way. */
function numberFor(resolve, perform) {
  if (waiting.size === 0) {
    keepAlive.ref();
  }
  return waiting.add({ resolve, perform });
}

/** What settles a call, which is under way no more. */
function take(call) {
  const taken = waiting.take(call);
  if (waiting.size === 0) {
    keepAlive.unref();
  }
  return taken?.resolve;
}

module.exports = { allBegun, ask, askIn, askTogether };
