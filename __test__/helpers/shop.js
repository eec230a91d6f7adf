"use strict";

const { Pool } = require("pg");
const { startBackendProcess } = require("../../examples/medusa-v1/backend");
const { logIn } = require("../../examples/medusa-v1/shop");
const { createShopDatabase, dropShopDatabase } = require("../../examples/medusa-v1/shop-database");
const { useEndings } = require("./endings");
// Else there is nothing to start.
require("./medusa-installed");

/** Migrating and seeding the first database of a server included, on a busy machine. */
const START_TIMEOUT = 180_000;

/**
 * Starts a Medusa with this package's idempotency keys, on a database of its own, for the tests of a
 * file or a `describe`.
 *
 * @param {object} options the plugin's
 * @returns an object that from `beforeAll` on has the backend's `url`, an admin's `token`, the
 *   `databaseUrl`, a `pool` on the database, `kill()` and `start()` it again, at another `url`
 */
function useShop(options) {
  const shop = {};
  const endings = useEndings(START_TIMEOUT);

  beforeAll(() => openShop(shop, { service: "ours", options }, endings), START_TIMEOUT);

  return shop;
}

/**
 * Starts a Medusa on a database of its own.
 *
 * @param {object} shop gets what {@link useShop} tells of, and the backend's `log()`
 * @param {{ service: "medusa" | "ours", options?: object, directory?: string }} backend whose
 *   idempotency keys, with which options of the plugin's; another project's folder
 * @param {(() => Promise<void>)[]} endings gets what has to be done in the end
 */
async function openShop(shop, { service, options, directory }, endings) {
  const databaseUrl = await createShopDatabase(process.env.TEST_DATABASE_URL);
  endings.push(() => dropShopDatabase(databaseUrl));
  const pool = new Pool({ connectionString: databaseUrl, max: 4, application_name: "jest" });
  // A lost connection fails the statement that needs it.
  pool.on("error", () => {});
  endings.push(() => pool.end());
  const start = async () => {
    const env = { LOG: "error", IDEMPOTENCY_OPTIONS: options && JSON.stringify(options) };
    const backend = await startBackendProcess({ databaseUrl, service, directory, env });
    const { url, log, stop } = backend;
    Object.assign(shop, { url, log, stop, kill: () => backend.kill() });
  };
  await start();
  endings.push(() => shop.stop());
  const { body } = await logIn(shop.url);
  Object.assign(shop, { databaseUrl, pool, start, token: body.access_token });
}

module.exports = { START_TIMEOUT, openShop, useShop };
