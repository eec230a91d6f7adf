"use strict";

const { idempotencyMiddleware } = require("./lib/request-context");
const { IdempotencyKeyService } = require("./lib/service");
const { TransactionManager } = require("./lib/transaction-manager");

module.exports = {
  // So that `export { default } from` and `import Service from`, compiled down to CommonJS as Medusa
  // projects are, find the class.
  __esModule: true,
  IdempotencyKeyService,
  TransactionManager,
  idempotencyMiddleware,
  default: IdempotencyKeyService,
};
