"use strict";

/**
 * The value that a container has registered under a name, if any. An awilix cradle throws for unknown names, and
 * `in` is false for all of them.
 */
function registered(container, name) {
  try {
    return container?.[name];
  } catch {
    return undefined;
  }
}

/** Medusa's config, which a project's own services receive instead of options. */
function projectConfigOf(container, options) {
  return options?.projectConfig ?? registered(container, "configModule")?.projectConfig;
}

/**
 * Returns a function that warns through a container's logger, or else as Node does. It keeps no reference to the
 * container, which lives only as long as its request.
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
