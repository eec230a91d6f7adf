"use strict";

const { connect } = require("./database");

/**
 * Holds a variant's stock, as the sale of another piece does that does not come to its end: a
 * completion that wants a piece waits for it, in the middle of the stage that places the order.
 *
 * @param {string} databaseUrl
 * @param {string} variantId
 * @returns {Promise<{ isAwaited(observer: import("pg").Client): Promise<boolean>, release(): Promise<void> }>}
 */
async function holdStock(databaseUrl, variantId) {
  const client = await connect(databaseUrl);
  try {
    await client.query("BEGIN");
    const { rows } = await client.query(
      `SELECT pg_backend_pid() AS pid FROM product_variant WHERE id = $1 FOR NO KEY UPDATE`,
      [variantId],
    );
    return {
      isAwaited: (observer) => isBlocking(observer, rows[0].pid),
      // With the connection goes the lock.
      release: () => client.end(),
    };
  } catch (error) {
    await client.end();
    throw error;
  }
}

async function isBlocking(observer, pid) {
  const { rows } = await observer.query(
    `SELECT FROM pg_stat_activity
     WHERE datname = current_database() AND $1::int = ANY (pg_blocking_pids(pid))`,
    [pid],
  );
  return rows.length > 0;
}

module.exports = { holdStock };
