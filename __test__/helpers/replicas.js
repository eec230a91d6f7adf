"use strict";

// A primary and its standby, which fail over.

const { setTimeout: sleep } = require("node:timers/promises");
const { Client } = require("pg");
const { startPostgres } = require("../../scripts/postgres");

const SETTINGS = { fsync: "off", wal_keep_size: "256MB" };

/**
 * Starts a primary and a standby that streams from it: both begin with the same data directory.
 *
 * @param {{ synchronous: boolean }} options whether a commit waits for the standby
 */
async function startReplicas({ synchronous }) {
  const primary = await startPostgres({ settings: SETTINGS });
  const { port } = new URL(primary.url);
  const source = `host=127.0.0.1 port=${port} user=postgres application_name=standby`;
  const standby = await startPostgres({
    settings: SETTINGS,
    // Not a setting of the command line, so that it can be changed.
    files: { "standby.signal": "", "postgresql.auto.conf": `primary_conninfo = '${source}'\n` },
  });
  await until(primary.url, "EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')");
  if (synchronous) {
    await configure(primary.url, "synchronous_standby_names", "standby");
    await until(primary.url, "EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')");
  }
  return {
    primary: primary.url,
    standby: standby.url,
    /** Ends the primary as a power failure does. */
    kill() {
      process.kill(primary.pid(), "SIGKILL");
    },
    promote: () => query(standby.url, "SELECT pg_promote(true, 30)"),
    /** Has the primary refuse writes, also on the connections that there are, once the standby has what it wrote. */
    async makeReadOnly() {
      await configure(primary.url, "default_transaction_read_only", "on");
      await until(
        primary.url,
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE xact_start < pg_conf_load_time() AND backend_type = 'client backend')",
      );
      await until(
        primary.url,
        "(SELECT replay_lsn >= pg_current_wal_lsn() FROM pg_stat_replication)",
      );
    },
    /** Has the standby learn nothing any more. */
    async disconnect() {
      await configure(standby.url, "primary_conninfo", "");
      await until(primary.url, "NOT EXISTS (SELECT FROM pg_stat_replication)");
    },
    stop: () => Promise.all([primary.stop(), standby.stop()]),
  };
}

async function configure(url, name, value) {
  await query(url, `ALTER SYSTEM SET ${name} = '${value}'`);
  await query(url, "SELECT pg_reload_conf()");
}

async function query(url, sql) {
  const client = new Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function until(url, condition) {
  for (const end = Date.now() + 30_000; Date.now() < end; await sleep(20)) {
    const [{ holds }] = await query(url, `SELECT ${condition} AS holds`);
    if (holds) {
      return;
    }
  }
  throw new Error(`never became true: ${condition}`);
}

module.exports = { query, startReplicas, until };
