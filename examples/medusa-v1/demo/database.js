"use strict";

const { Client } = require("pg");
const { startPostgres } = require("../../../scripts/postgres");
const { createShopDatabase, dropShopDatabase, dropTemplate } = require("../prepare");

/**
 * A shop's database, in the server that `DATABASE_URL` names or else in an embedded PostgreSQL.
 *
 * @returns {Promise<{ url: string, client: Client, close(): Promise<void> }>} `client` goes neither
 *   through the backend nor through the package: what it sees is what the database holds
 */
async function openShopDatabase() {
  const server = await openServer();
  try {
    const url = await createShopDatabase(server.url);
    const client = await connect(url);
    return {
      url,
      client,
      async close() {
        try {
          await client.end();
          await dropShopDatabase(url);
        } finally {
          await server.close();
        }
      },
    };
  } catch (error) {
    await server.close();
    throw error;
  }
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
  const client = new Client({ connectionString: url });
  // A connection that is lost fails the statement that needs it; it has to fail nothing before.
  client.on("error", () => {});
  await client.connect();
  return client;
}

module.exports = { openShopDatabase, connect };
