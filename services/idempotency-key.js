"use strict";

// What Medusa's plugin loader registers as `idempotencyKeyService`, in place of its own.

const { IdempotencyKeyService } = require("..");

exports.default = IdempotencyKeyService;
