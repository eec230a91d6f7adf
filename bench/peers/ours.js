"use strict";

// This package, through its public methods.

const { IdempotencyKeyService } = require("../..");

/**
 * @param {string} url
 * @param {{ connections: number }} settings
 */
async function open(url, { connections }) {
  const service = new IdempotencyKeyService(
    {},
    // One connection more is kept for single statements.
    { databaseUrl: url, maxConnections: connections - 1 },
  );
  return {
    create: (request) => service.create(request),
    retrieve: (key) => service.retrieve(key),
    update: (key, changes) => service.update(key, changes),
    lock: (key) => service.lock(key),
    initializeRequest: (headerKey, request) =>
      service.initializeRequest(
        headerKey,
        request.request_method,
        request.request_params,
        request.request_path,
      ),
    workStage: (key, callback) => service.workStage(key, callback),
    close: () => service.close(),
  };
}

module.exports = { open };
