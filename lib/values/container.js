"use strict";

/**
 * What a container has under a name, if anything. To ask is the only way to find out: awilix' cradle
 * throws for names that it does not know, and says of every name that it is not `in` it.
 */
function registered(container, name) {
  try {
    return container?.[name];
  } catch {
    return undefined;
  }
}

/** Medusa's config: a project's own services get it in place of options. */
function projectConfigOf(container, options) {
  return options?.projectConfig ?? registered(container, "configModule")?.projectConfig;
}

/**
 * Warns whoever runs the backend, through a container's logger or else as Node does. It keeps nothing else of the
 * container, which ends with its request.
 *
 * @returns {(message: string) => void}
 */
function warnerOf(container) {
  const logger = registered(container, "logger");
  return (message) => {
    if (typeof logger?.warn === "function") {
      logger.warn(`medusa-idempotency-key: ${message}`);
    } else {
      process.emitWarning(message, { code: "medusa-idempotency-key" });
    }
  };
}

module.exports = { projectConfigOf, registered, warnerOf };
