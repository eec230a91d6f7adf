"use strict";

// What the rounds come to: medians, ratios and whether they reach their targets.

const { middle } = require("./measure");

const FIGURES = ["p50", "throughput", "cpu", "rejected"];

/**
 * @param {object} compared what `compareAll` resolves to, one of it
 * @returns {Result}
 *
 * @typedef {object} Result
 * @property {string} scenario
 * @property {number} callers
 * @property {Record<string, Partial<import("./measure").Figures>>} peers
 * @property {"p50" | "throughput"} compared
 * @property {Record<string, Verdict>} ratios ours against each of the others
 *
 * @typedef {{ value: number, atMost?: number, atLeast?: number, isReached?: boolean }} Verdict
 */
function resultOf({ scenario, callers, figures }) {
  const compared = scenario.compared ?? (callers === 1 ? "p50" : "throughput");
  const targets = scenario.targets?.[callers] ?? {};
  const { ours, ...others } = figures;
  const ratios = Object.entries(others).map(([peer, rounds]) => [
    peer,
    judged(ratio(ours, rounds, compared), limitOf(compared, targets[peer])),
  ]);
  return {
    scenario: scenario.name,
    callers,
    peers: Object.fromEntries(Object.entries(figures).map(([peer, of]) => [peer, mediansOf(of)])),
    compared,
    ratios: Object.fromEntries(ratios),
  };
}

function limitOf(compared, target) {
  if (target === undefined) {
    return {};
  }
  return compared === "p50" ? { atMost: target } : { atLeast: target };
}

/** A value and whether it keeps within its limit, if it has one. */
function judged(value, { atMost, atLeast }) {
  if (atMost !== undefined) {
    return { value: rounded(value), atMost, isReached: value <= atMost };
  }
  if (atLeast !== undefined) {
    return { value: rounded(value), atLeast, isReached: value >= atLeast };
  }
  return { value: rounded(value) };
}

/** Each round's own ratio, as the machine is another in the next, and the median of those. */
function ratio(ours, theirs, figure) {
  return middle(ours.map((round, index) => round[figure] / theirs[index][figure]));
}

function mediansOf(rounds) {
  const known = FIGURES.filter((figure) => rounds[0][figure] !== undefined);
  return Object.fromEntries(
    known.map((figure) => [figure, rounded(middle(rounds.map((round) => round[figure])))]),
  );
}

/** To three digits, or to a whole number where there are more. */
function rounded(number) {
  return Math.abs(number) >= 100 ? Math.round(number) : Number(number.toPrecision(3));
}

module.exports = { judged, ratio, resultOf, rounded };
