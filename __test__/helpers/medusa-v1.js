"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");
const { EXAMPLE } = require("./medusa-installed");

// Medusa's own service as its package ships it, on the one version of TypeORM that it works with:
// both are what the example is installed with, not what this package is developed with.
const requireInstalled = createRequire(path.join(EXAMPLE, "package.json"));

module.exports = {
  MedusaService: requireInstalled("@medusajs/medusa/dist/services/idempotency-key").default,
  IdempotencyKey: requireInstalled("@medusajs/medusa/dist/models/idempotency-key").IdempotencyKey,
  typeorm: requireInstalled("typeorm"),
};
