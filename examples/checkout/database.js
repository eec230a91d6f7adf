"use strict";

const { randomBytes } = require("node:crypto");
const { Client } = require("pg");
const { startPostgres } = require("../../scripts/postgres");

/**
 * A schema of the demo's own, in the database that `DATABASE_URL` names or else in an embedded
 * PostgreSQL. It sits in the URL's `search_path`, so that everybody who is given the URL uses it.
 *
 * @returns {Promise<{ url: string, client: Client, close(): Promise<void> }>} `client` does not go
 *   through the package: what it sees is what the database holds
 */
async function openDatabase() {
  const server = process.env.DATABASE_URL
    ? { url: process.env.DATABASE_URL, stop: async () => {} }
    : await startPostgres();
  const schema = `checkout_demo_${randomBytes(6).toString("hex")}`;
  const url = withOption(server.url, `-csearch_path=${schema}`);
  const client = clientOf(url);
  try {
    await client.connect();
    await client.query(`CREATE SCHEMA ${schema}`);
  } catch (error) {
    await client.end();
    await server.stop();
    throw error;
  }
  return {
    url,
    client,
    async close() {
      try {
        await client.query(`DROP SCHEMA ${schema} CASCADE`);
        await client.end();
      } finally {
        await server.stop();
      }
    },
  };
}

function withOption(databaseUrl, option) {
  if (!URL.canParse(databaseUrl)) {
    throw new Error("DATABASE_URL has to be like postgres://user:password@host:5432/database");
  }
  const url = new URL(databaseUrl);
  const given = url.searchParams.get("options");
  url.searchParams.set("options", given ? `${given} ${option}` : option);
  return url.href;
}

/** `pg` alone takes `sslmode=require` for `verify-full`. */
function clientOf(databaseUrl) {
  const url = new URL(databaseUrl);
  url.searchParams.set("uselibpqcompat", "true");
  const client = new Client({ connectionString: url.href });
  // A connection that is lost fails the statement that needs it; it has to fail nothing before.
  client.on("error", () => {});
  return client;
}

module.exports = { openDatabase };
