"use strict";

const { Client } = require("pg");
const { startPostgres } = require("../../../scripts/postgres");
const { forPg } = require("../database-url");
const { createShopDatabase, dropShopDatabase, dropTemplate } = require("../shop-database");

/**
 * @typedef {{ url: string, client: Client }} ShopDatabase `client` goes neither through the backend
 *   nor through the package: what it sees is what the database holds
 */

/**
 * Databases with a shop each, in the server that `DATABASE_URL` names or else in an embedded
 * PostgreSQL.
 *
 * @param {number} count
 * @param {{ signal: AbortSignal }} options `signal` gives up
 * @returns {Promise<{ databases: ShopDatabase[], close(): Promise<void> }>}
 */
async function openShopDatabases(count, { signal }) {
  const server = await openServer();
  const databases = [];
  const close = async () => {
    try {
      await Promise.all(databases.map(drop));
    } finally {
      await server.close();
    }
  };
  try {
    while (databases.length < count) {
      const url = await createShopDatabase(server.url, { signal });
      databases.push({ url, client: await connect(url) });
    }
    return { databases, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function drop({ url, client }) {
  await client.end();
  await dropShopDatabase(url);
}

async function openServer() {
  const url = process.env.DATABASE_URL;
  if (url) {
    // The server is somebody's: the template, which the next run would start from, goes as well.
    return { url, close: () => dropTemplate(url) };
  }
  const server = await startPostgres({ settings: { fsync: "off" } });
  return { url: server.url, close: server.stop };
}

async function connect(url) {
  const client = new Client({ connectionString: forPg(url) });
  // A connection that is lost fails the statement that needs it; it has to fail nothing before.
  client.on("error", () => {});
  await client.connect();
  return client;
}

module.exports = { openShopDatabases, connect };
