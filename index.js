"use strict";

const { IdempotencyKeyService } = require("./lib/service");
const { TransactionManager } = require("./lib/transaction-manager");

module.exports = {
  IdempotencyKeyService,
  TransactionManager,
  default: IdempotencyKeyService,
};
