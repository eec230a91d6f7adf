"use strict";

/**
 * What has to be ended after the tests of a file or a `describe`, the last first: a database goes after
 * those who are connected to it. Each is ended even where another one fails.
 *
 * @param {number} timeout milliseconds for all of them
 * @returns {(() => unknown)[]} to be pushed to
 */
function useEndings(timeout) {
  const endings = [];
  afterAll(async () => {
    const failures = [];
    for (const end of endings.reverse()) {
      await Promise.resolve(end()).catch((error) => failures.push(error));
    }
    if (failures.length > 0) {
      throw failures[0];
    }
  }, timeout);
  return endings;
}

module.exports = { useEndings };
