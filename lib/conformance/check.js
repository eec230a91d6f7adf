"use strict";

const { isDeepStrictEqual } = require("node:util");

// What the expectations of a case mean.

/** Of one response, or of the connection. */
const NOT_REPLAYED = [
  "connection",
  "content-length",
  "date",
  "idempotent-replayed",
  "keep-alive",
  "set-cookie",
  "transfer-encoding",
];

/**
 * Each throws if an answer is not as expected.
 *
 * @type {Record<string, (answer: object, expected: any, answers: Map<string, object>) => void>}
 */
const OF_ANSWERS = {
  status: (answer, status) => expectOf(answer.status === status, answer, `status ${status}`),
  statusFrom: (answer, least) =>
    expectOf(answer.status >= least, answer, `status ${least} or above`),
  statusBelow: (answer, most) => expectOf(answer.status < most, answer, `status below ${most}`),
  succeeds: (answer) => expectOf(isSuccess(answer), answer, "a status from 200 to 399"),
  replayed(answer, isReplayed) {
    const isSo = (answer.headers["idempotent-replayed"] === "true") === isReplayed;
    expectOf(isSo, answer, `${isReplayed ? "" : "no "}header Idempotent-Replayed: true`);
  },
  same(answer, other, answers) {
    const { status, text } = answers.get(other);
    expectOf(
      answer.status === status && answer.text === text,
      answer,
      `the status and body of "${other}"`,
    );
  },
  sameHeaders(answer, other, answers) {
    const isSo = isDeepStrictEqual(lasting(answer), lasting(answers.get(other)));
    expectOf(isSo, answer, `the headers of "${other}"`);
  },
  without: (answer, name) => expectOf(!(name in answer.headers), answer, `no header ${name}`),
  with: (answer, name) => expectOf(name in answer.headers, answer, `a header ${name}`),
  problem: (answer) =>
    expectOf(isDescribed(answer), answer, "a description with a link: see RFC 9457"),
};

/**
 * Throws if what was seen is not as expected.
 *
 * @param {object} expectation of a case
 * @param {Map<string, object>} answers by their names
 * @param {number | undefined} effects how often the work was done
 */
function check({ of, ofAll, oneOf, effects: times, ...expected }, answers, effects) {
  if (times !== undefined) {
    if (effects !== undefined && effects !== times) {
      throw new Error(`the work was done ${effects} times instead of ${times}`);
    }
  } else if (oneOf) {
    checkPair(
      oneOf.map((name) => answers.get(name)),
      expected,
      answers,
    );
  } else if (ofAll) {
    const { orStatus, ...others } = expected;
    const rest = ofAll.map((name) => answers.get(name)).filter(({ status }) => status !== orStatus);
    rest.forEach((answer) => checkAnswer(answer, others, answers));
  } else {
    checkAnswer(answers.get(of), expected, answers);
  }
}

/** Of two answers that were asked for at once either may be the first. */
function checkPair(pair, { succeeds, theOther, ...ofTheOther }, answers) {
  const [first, second] = pair.sort((one, other) => one.status - other.status);
  checkAnswer(first, { succeeds }, answers);
  checkAnswer(second, { status: theOther, ...ofTheOther }, answers);
}

function checkAnswer(answer, expected, answers) {
  for (const [what, value] of Object.entries(expected)) {
    OF_ANSWERS[what](answer, value, answers);
  }
}

function expectOf(isSo, { name, status }, expected) {
  if (!isSo) {
    throw new Error(`the answer "${name}" (status ${status}) was to have ${expected}`);
  }
}

function isSuccess({ status }) {
  return status >= 200 && status < 400;
}

/** Problem details whose type is an address, or a link to documentation. */
function isDescribed({ headers, text }) {
  if (/rel="?describedby/.test(headers.link ?? "")) {
    return true;
  }
  const isProblem = /^application\/problem\+json\b/.test(headers["content-type"] ?? "");
  const { type, title } = isProblem ? JSON.parse(text) : {};
  return URL.canParse(type ?? "") && typeof title === "string";
}

function lasting({ headers }) {
  const all = Object.entries(headers);
  return Object.fromEntries(all.filter(([name]) => !NOT_REPLAYED.includes(name)));
}

module.exports = { check };
