"use strict";

// Medusa's own service as its package ships it, on the one version of TypeORM that it works with:
// both are what the example is installed with, not what this package is developed with.

const fs = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");

const EXAMPLE = path.join(__dirname, "../../examples/medusa-v1");

const requireInstalled = createRequire(path.join(EXAMPLE, "package.json"));

const MedusaService = requireInstalled("@medusajs/medusa/dist/services/idempotency-key").default;
const { IdempotencyKey } = requireInstalled("@medusajs/medusa/dist/models/idempotency-key");
const typeorm = requireInstalled("typeorm");
const awilix = requireInstalled("awilix");

/** @param {{ connections: number }} settings */
async function openDataSource(url, { connections }) {
  const dataSource = new typeorm.DataSource({
    type: "postgres",
    url,
    entities: [IdempotencyKey],
    extra: { max: connections },
  });
  await dataSource.initialize();
  return dataSource;
}

/** What Medusa's container gives its service. */
function cradleOf(dataSource) {
  return {
    manager: dataSource.manager,
    idempotencyKeyRepository: dataSource.getRepository(IdempotencyKey),
  };
}

/** Of the packages that figures are of. */
function versions() {
  return { medusa: versionOf("@medusajs/medusa"), typeorm: versionOf("typeorm") };
}

/** Not every package lets its package.json be required. */
function versionOf(name) {
  const file = path.join(EXAMPLE, "node_modules", name, "package.json");
  return JSON.parse(fs.readFileSync(file, "utf8")).version;
}

module.exports = { MedusaService, awilix, cradleOf, openDataSource, versions };
