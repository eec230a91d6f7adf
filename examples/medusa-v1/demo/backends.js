"use strict";

const { startBackendProcess } = require("../backend");

/**
 * The backends of the demo, which end with it, also those that are still starting.
 *
 * @param {AbortSignal} signal gives up what is starting
 */
function openBackends(signal) {
  const closing = new AbortController();
  const starting = [];
  const started = [];
  return {
    /** `options`: those of `startBackendProcess`. */
    start(options) {
      const givingUp = AbortSignal.any([signal, closing.signal]);
      const backend = startBackendProcess({ ...options, signal: givingUp });
      starting.push(backend);
      // It may fail long before somebody waits for it.
      backend.then(
        (one) => started.push(one),
        () => {},
      );
      return backend;
    },

    /** What they have printed. */
    logs: () => started.map(({ log }) => log()).join(""),

    async close() {
      closing.abort();
      await Promise.allSettled(starting);
      await Promise.all(started.map((backend) => backend.kill()));
    },
  };
}

module.exports = { openBackends };
