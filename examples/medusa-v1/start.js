"use strict";

// The backend by hand, with nothing to set up: `node examples/medusa-v1/start.js`, until Ctrl-C.

const { once } = require("node:events");
const { startPostgres } = require("../../scripts/postgres");
const { startBackendProcess } = require("./backend");
const { prepare, createShopDatabase, dropShopDatabase } = require("./prepare");

async function main() {
  prepare();
  const server = process.env.DATABASE_URL
    ? { url: process.env.DATABASE_URL, stop: async () => {} }
    : await startPostgres({ settings: { fsync: "off" } });
  try {
    console.error("\n> making a database with a shop");
    const databaseUrl = await createShopDatabase(server.url);
    try {
      await serve(databaseUrl);
    } finally {
      await dropShopDatabase(databaseUrl);
    }
  } finally {
    await server.stop();
  }
}

async function serve(databaseUrl) {
  const interrupted = Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
  const service = process.env.IDEMPOTENCY_SERVICE || "ours";
  const backend = await startBackendProcess({
    databaseUrl,
    service,
    env: { PORT: process.env.PORT ?? "9000" },
  });
  console.log(
    `Medusa answers at ${backend.url}, with ${service} idempotency keys; Ctrl-C ends it.`,
  );
  console.log(`Its database: ${databaseUrl}`);
  // Nothing else would keep this process.
  const waiting = setInterval(() => {}, 2 ** 30);
  await interrupted;
  clearInterval(waiting);
  await backend.stop();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
