"use strict";

/** Names that are shorter differ from each other by too little. */
const SHORTEST = 8;
/** Letters that may be missing, wrong or too many. */
const SLIPS = 2;

/**
 * The name that was meant by one that is not known, if there is one near: another way to write it
 * (`recoveryPoint`, `recovery-point`), or one with a slip or two (`responce_code`).
 *
 * @param {string} given
 * @param {readonly string[]} names
 * @returns {string | undefined}
 */
function nearest(given, names) {
  const written = letters(given);
  const same = names.find((name) => letters(name) === written);
  if (same || written.length < SHORTEST) {
    return same;
  }
  const longEnough = names.filter((name) => letters(name).length >= SHORTEST);
  return longEnough.find((name) => distance(written, letters(name)) <= SLIPS);
}

function letters(name) {
  return name.replace(/[^a-zA-Z0-9]/g, "").toLowerCase();
}

/** How many letters have to be inserted, deleted or changed to make one word of another (Levenshtein). */
function distance(from, to) {
  if (Math.abs(from.length - to.length) > SLIPS) {
    return Infinity;
  }
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const changed = row[j - 1] + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(changed, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[to.length];
}

module.exports = { nearest };
