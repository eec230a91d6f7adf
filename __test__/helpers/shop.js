"use strict";

const { Pool } = require("pg");
const { startBackendProcess } = require("../../examples/medusa-v1/backend");
const { createShopDatabase, dropShopDatabase } = require("../../examples/medusa-v1/prepare");
const { logIn } = require("../../examples/medusa-v1/shop");
const { useEndings } = require("./endings");

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

  beforeAll(async () => {
    const databaseUrl = await createShopDatabase(process.env.TEST_DATABASE_URL);
    endings.push(() => dropShopDatabase(databaseUrl));
    const pool = new Pool({ connectionString: databaseUrl, max: 4, application_name: "jest" });
    // A lost connection fails the statement that needs it.
    pool.on("error", () => {});
    endings.push(() => pool.end());
    const start = async () => {
      const env = { LOG: "error", IDEMPOTENCY_OPTIONS: JSON.stringify(options) };
      const backend = await startBackendProcess({ databaseUrl, env });
      Object.assign(shop, { url: backend.url, kill: () => backend.kill(), stop: backend.stop });
    };
    await start();
    endings.push(() => shop.stop());
    const { body } = await logIn(shop.url);
    Object.assign(shop, { databaseUrl, pool, start, token: body.access_token });
  }, START_TIMEOUT);

  return shop;
}

module.exports = { useShop };
