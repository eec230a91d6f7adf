"use strict";

const { isIdempotencyError } = require("./lib/errors/errors");
const { idempotencyMiddleware } = require("./lib/request/request-context");
const { IdempotencyKeyService, createIdempotency } = require("./lib/service");
const { TransactionManager } = require("./lib/handles/transaction-manager");

module.exports = {
  // So that `export { default } from` and `import Service from`, compiled down to CommonJS as Medusa
  // projects are, find the class.
  __esModule: true,
  IdempotencyKeyService,
  TransactionManager,
  createIdempotency,
  idempotencyMiddleware,
  isIdempotencyError,
  default: IdempotencyKeyService,
};
