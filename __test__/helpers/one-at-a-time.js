"use strict";

/**
 * A property that is checked with one value after the other. When the time for a run is over, fast-check leaves the
 * check that is under way, which would go on beside what comes next.
 *
 * @param {(...given: unknown[]) => Promise<unknown>} property
 * @returns {((...given: unknown[]) => Promise<unknown>) & { ended(): Promise<void> }} `ended()` resolves when none is
 *   under way
 */
function oneAtATime(property) {
  let last = Promise.resolve();
  const ended = () => last.then(undefined, () => {});
  const check = (...given) => {
    last = ended().then(() => property(...given));
    return last;
  };
  return Object.assign(check, { ended });
}

module.exports = { oneAtATime };
