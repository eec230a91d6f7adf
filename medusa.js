"use strict";

// The service under the type that TypeScript projects on Medusa v1 need: see medusa.d.ts.

const { IdempotencyKeyService } = require(".");

exports.MedusaIdempotencyKeyService = IdempotencyKeyService;
