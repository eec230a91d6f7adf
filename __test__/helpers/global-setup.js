"use strict";

const { Client } = require("pg");
const { IdempotencyKeyService } = require("../..");
const { startPostgres } = require("../../scripts/postgres");

/** Starts a server unless there is one, and makes the database that each test file copies. */
module.exports = async () => {
  if (!process.env.TEST_DATABASE_URL) {
    globalThis.startedServer = await startPostgres({ settings: { max_connections: 300 } });
    process.env.TEST_DATABASE_URL = globalThis.startedServer.url;
  }
  const template = `idempotency_template_${process.pid}`;
  process.env.TEST_TEMPLATE = template;
  await asAdmin(`CREATE DATABASE ${template}`);
  const url = new URL(process.env.TEST_DATABASE_URL);
  url.pathname = `/${template}`;
  const service = new IdempotencyKeyService({}, { databaseUrl: url.href });
  await service.migrate();
  await service.close();
};

async function asAdmin(sql) {
  const client = new Client({ connectionString: process.env.TEST_DATABASE_URL });
  await client.connect();
  await client.query(sql);
  await client.end();
}

module.exports.asAdmin = asAdmin;
