"use strict";

/** Shorter names are too similar to each other. */
const SHORTEST = 8;
/** How many letters may be missing, wrong or superfluous. */
const SLIPS = 2;

/**
 * The known name that an unknown one is likely to mean, if any: it is written differently (`recoveryPoint`,
 * `recovery-point`), or has a typing error or two (`responce_code`).
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

/** The Levenshtein distance: how many letters have to be inserted, deleted or changed. */
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
