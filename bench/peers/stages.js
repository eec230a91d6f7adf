"use strict";

// Stages as Medusa runs them: in a transaction that the caller has opened through TypeORM. All on
// one DataSource, so that nothing but the stage itself differs.

const { IdempotencyKeyService } = require("../..");
const { MedusaService, cradleOf, openDataSource } = require("./medusa-v1");

const LOCK_ROW = "SELECT * FROM idempotency_key WHERE idempotency_key = $1 FOR UPDATE";
const UPDATE = `
  UPDATE idempotency_key SET recovery_point = $2 WHERE idempotency_key = $1 RETURNING *`;

/**
 * @param {string} url
 * @param {{ connections: number }} settings
 * @returns {Promise<{ peers: Record<string, object>, close(): Promise<void> }>}
 */
async function open(url, settings) {
  const dataSource = await openDataSource(url, settings);
  const { manager } = dataSource;
  const cradle = cradleOf(dataSource);
  const ours = new IdempotencyKeyService({ manager }, {});
  const medusa = new MedusaService(cradle);
  const inTransaction = (stage) => ({
    boundStage: (key, callback) => manager.transaction((tx) => stage(tx, key, callback)),
  });
  return {
    peers: {
      ours: inTransaction((tx, key, callback) => ours.withTransaction(tx).workStage(key, callback)),
      medusa: inTransaction((tx, key, callback) =>
        medusa.withTransaction(tx).workStage(key, callback),
      ),
      statements: inTransaction(twoStatements),
    },
    async close() {
      await ours.close();
      await dataSource.destroy();
    },
  };
}

/** What a stage takes at least, by hand. */
async function twoStatements(tx, key, callback) {
  const [known] = await tx.query(LOCK_ROW, [key]);
  if (!known) {
    throw new Error(`there is no key ${key}`);
  }
  const { recovery_point } = await callback(tx);
  const [[updated]] = await tx.query(UPDATE, [key, recovery_point]);
  return updated;
}

module.exports = { open };
