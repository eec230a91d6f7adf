"use strict";

/** The routes that were warned about. Bounded, since paths may contain anything. */
const warnedOf = new Set();
const REMEMBERED = 1000;

/**
 * Warns, once for each route, that a request has not ended although its lease was renewed for `maxDuration`.
 *
 * @param {(message: string) => void} tell
 * @param {{ shown: string, name: string }} route method and path of the request, and what its route is called
 */
function warnOverdue(tell, route) {
  if (warnedOf.has(route.name)) {
    return;
  }
  if (warnedOf.size === REMEMBERED) {
    warnedOf.clear();
  }
  warnedOf.add(route.name);
  tell(
    `${route.shown} has neither finished its idempotency key nor ended its response within maxDuration: a ` +
      "retry may now begin the request beside it. A handler that gives up has to end its response " +
      "(res.end()), or release the key (service.release(key)); one that needs longer, a longer maxDuration",
  );
}

module.exports = { warnOverdue };
