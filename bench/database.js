"use strict";

const { Client } = require("pg");
const { IdempotencyKeyService } = require("..");
const { startPostgres } = require("../scripts/postgres");

/** Those that decide what a commit costs. */
const SETTINGS = [
  "fsync",
  "synchronous_commit",
  "full_page_writes",
  "wal_sync_method",
  "shared_buffers",
  "max_wal_size",
];

/**
 * A server to make databases on: one of its own with PostgreSQL's default settings, or the one that
 * `DATABASE_URL` names.
 *
 * @returns {Promise<{
 *   isGiven: boolean,
 *   createDatabase(): Promise<string>,
 *   remove(): Promise<void>,
 * }>} `createDatabase`: an empty one; resolves to its URL
 */
async function openServer() {
  const given = process.env.DATABASE_URL;
  const server = given ? { url: given } : await startPostgres();
  const names = [];
  return {
    isGiven: Boolean(given),
    async createDatabase() {
      const name = `idempotency_bench_${process.pid}_${names.length}`;
      await withClient(server.url, async (client) => {
        await client.query(`CREATE DATABASE ${name}`);
        names.push(name);
      });
      const url = new URL(server.url);
      url.pathname = `/${name}`;
      return url.href;
    },
    remove: () => (given ? dropAll(given, names) : server.stop()),
  };
}

function dropAll(url, names) {
  return withClient(url, async (client) => {
    for (const name of names) {
      await client.query(`DROP DATABASE ${name} WITH (FORCE)`);
    }
  });
}

/**
 * Creates the table, in a schema if one is named, as the documentation tells everybody to have it: with
 * the optional columns, which all peers leave empty.
 */
async function migrate(url, schema) {
  const service = new IdempotencyKeyService({}, { databaseUrl: url, schema });
  await service.migrate();
  await service.close();
}

/** @returns {Promise<{ version: string, settings: Record<string, string> }>} */
async function describeServer(client) {
  const { rows } = await client.query(
    `SELECT name, current_setting(name) AS value
     FROM unnest($1::text[]) AS name`,
    [["server_version", ...SETTINGS]],
  );
  const [version, ...settings] = rows;
  return {
    version: version.value,
    settings: Object.fromEntries(settings.map(({ name, value }) => [name, value])),
  };
}

async function withClient(url, work) {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

module.exports = { openServer, migrate, describeServer, withClient };
