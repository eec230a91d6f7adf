"use strict";

const { Client } = require("pg");
const { startPostgres } = require("../scripts/postgres");

/** Those that decide what a commit costs. */
const SETTINGS = ["fsync", "synchronous_commit", "full_page_writes", "shared_buffers"];

/**
 * An empty database: in a server of its own with PostgreSQL's default settings, or, where
 * `DATABASE_URL` names one, beside the database that it names.
 *
 * @returns {Promise<{ url: string, remove(): Promise<void> }>}
 */
async function emptyDatabase() {
  const given = process.env.DATABASE_URL;
  if (!given) {
    const server = await startPostgres();
    return { url: server.url, remove: () => server.stop() };
  }
  const name = `idempotency_bench_${process.pid}`;
  await withClient(given, (client) => client.query(`CREATE DATABASE ${name}`));
  const url = new URL(given);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    remove: () => withClient(given, (client) => client.query(`DROP DATABASE ${name} WITH (FORCE)`)),
  };
}

/** @returns {Promise<{ version: string, settings: string }>} */
async function describeServer(client) {
  const { rows } = await client.query(
    `SELECT name, current_setting(name) AS value
     FROM unnest($1::text[]) AS name`,
    [["server_version", ...SETTINGS]],
  );
  const [version, ...settings] = rows;
  return {
    version: version.value,
    settings: settings.map(({ name, value }) => `${name} ${value}`).join(", "),
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

module.exports = { emptyDatabase, describeServer, withClient };
