"use strict";

const { CONFLICT } = require("./repeat");

const REFUSED = 422;

/** What is counted of a rush, and what it is where all callers are told of the one completion. */
const COUNTS = [
  {
    name: "answers 200",
    note: "of the first ones",
    show: (seen) => answersOf(seen, 200),
    passes: (seen) => answersOf(seen, 200) >= 1,
  },
  {
    name: `${CONFLICT}`,
    note: "it is in progress: ask again",
    show: (seen) => answersOf(seen, CONFLICT),
    passes: () => true,
  },
  {
    name: `${REFUSED}`,
    note: "it is refused: no client asks again",
    show: (seen) => answersOf(seen, REFUSED),
    passes: (seen) => answersOf(seen, REFUSED) === 0,
  },
  {
    name: "others",
    note: "failures",
    show: otherAnswers,
    passes: (seen) => otherAnswers(seen) === 0,
  },
  {
    name: "orders",
    note: "of the cart",
    show: ({ orders }) => orders.length,
    passes: ({ orders }) => orders.length === 1,
  },
  {
    name: "payments",
    note: "of the cart",
    show: ({ payments }) => payments,
    passes: ({ payments }) => payments === 1,
  },
  {
    name: "taxed",
    note: "of what was bought and its shipping",
    show: ({ taxed, taxable }) => `${taxed} of ${taxable}`,
    passes: ({ taxed, taxable }) => taxable > 0 && taxed === taxable,
  },
  {
    name: "callers",
    note: "have the order, once those with a 409 have asked again",
    show: (seen) => `${callersWithOrder(seen)} of ${seen.endings.length}`,
    passes: (seen) => callersWithOrder(seen) === seen.endings.length,
  },
];

function answersOf({ statuses }, wanted) {
  return statuses.filter((status) => status === wanted).length;
}

function otherAnswers({ statuses }) {
  return statuses.filter((status) => ![200, CONFLICT, REFUSED].includes(status)).length;
}

function callersWithOrder({ endings, orders }) {
  const hasIt = ({ status, body }) => status === 200 && body?.data?.id === orders[0];
  return endings.filter(hasIt).length;
}

/**
 * @typedef {import("./rush").Rush} Rush
 *
 * @param {{ ours: Rush, medusa: Rush }} rushes
 * @returns {import("./audit").Check[]} whose `values` are ours and Medusa's; ours have to pass
 */
function auditRush({ ours, medusa }) {
  return COUNTS.map(({ name, note, show, passes }) => ({
    name,
    values: [show(ours), show(medusa)],
    note,
    passed: passes(ours),
  }));
}

/** Such as `✓ 1 × 200, 7 × 409`, with the mark of all that was counted. */
function summaryOf(rush) {
  const mark = COUNTS.every(({ passes }) => passes(rush)) ? "✓" : "✗";
  const kinds = [...new Set(rush.statuses)].sort();
  return `${mark} ${kinds.map((kind) => `${answersOf(rush, kind)} × ${kind}`).join(", ")}`;
}

module.exports = { auditRush, summaryOf };
