"use strict";

// What goes wrong in a shop's database while a request is answered.

const { setTimeout: sleep } = require("node:timers/promises");
const { Client } = require("pg");

const AWAITED_TIMEOUT = 60_000;
const POLL_INTERVAL = 5;

/**
 * Lets every INSERT into a table fail while something is done.
 *
 * @param {import("pg").Pool} pool
 * @param {string} table
 * @param {() => Promise<any>} work
 */
async function whileInsertsFail(pool, table, work) {
  await pool.query(
    `CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql
     AS $$ BEGIN RAISE EXCEPTION 'out of order'; END $$`,
  );
  await pool.query(`CREATE TRIGGER fail BEFORE INSERT ON "${table}" EXECUTE FUNCTION fail()`);
  try {
    return await work();
  } finally {
    await pool.query(`DROP TRIGGER fail ON "${table}"`);
  }
}

/**
 * Holds a table, so that a request that writes to it waits in the middle of what it does.
 *
 * @param {string} databaseUrl
 * @param {string} table
 */
async function holdTable(databaseUrl, table) {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query("BEGIN");
  await client.query(`LOCK TABLE "${table}" IN SHARE ROW EXCLUSIVE MODE`);
  // Not of pg_stat_activity: within a transaction that does not change.
  const waiting = () =>
    client.query(
      `SELECT DISTINCT pid FROM pg_locks
       WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))`,
    );
  return {
    /** Resolves once somebody waits for the table. */
    async awaited() {
      for (const deadline = Date.now() + AWAITED_TIMEOUT; Date.now() < deadline;) {
        if ((await waiting()).rowCount > 0) {
          return;
        }
        await sleep(POLL_INTERVAL);
      }
      throw new Error(`nobody wrote to ${table} within ${AWAITED_TIMEOUT} ms`);
    },
    /** Cuts the connections of those who wait. */
    async cut() {
      const { rows } = await waiting();
      for (const { pid } of rows) {
        await client.query("SELECT pg_terminate_backend($1)", [pid]);
      }
    },
    // With the connection goes the lock.
    release: () => client.end(),
  };
}

module.exports = { whileInsertsFail, holdTable };
