"use strict";

const { IdempotencyKeyService } = require("./service");

/**
 * A service that needs no container, as an application without Medusa makes it.
 *
 * @param {object} [options]
 */
function createIdempotency(options) {
  return new IdempotencyKeyService({}, options);
}

module.exports = { createIdempotency };
