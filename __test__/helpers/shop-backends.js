"use strict";

const { Pool } = require("pg");
const { startBackendProcess } = require("../../examples/medusa-v1/backend");
const { createShopDatabase, dropShopDatabase } = require("../../examples/medusa-v1/prepare");
const { logIn } = require("../../examples/medusa-v1/shop");
const { useEndings } = require("./endings");
const { makeProject } = require("./shop-project");

/** Migrating and seeding the first database of a server included, on a busy machine. */
const START_TIMEOUT = 180_000;

/** Whose idempotency keys each shop has, with which options. */
const SHOPS = {
  medusa: { service: "medusa" },
  likeMedusas: { service: "ours", options: { mode: "medusa" } },
  ours: { service: "ours" },
};

/**
 * Starts one Medusa with its own idempotency keys and two with this package's, in mode "medusa" and
 * as it is, each on a database of its own, for the tests of a file or a `describe`.
 *
 * @param {{ project?: boolean }} [options] `project`: the fixture project instead of the example
 * @returns an object whose fields `medusa`, `likeMedusas` and `ours` are there from `beforeAll` on:
 *   `name`, `url`, an admin's `token`, a `pool` on the database, and the backend's `log()`
 */
function useShops({ project = false } = {}) {
  const shops = {};
  const endings = useEndings(START_TIMEOUT);

  beforeAll(async () => {
    let directory;
    if (project) {
      const made = makeProject();
      endings.push(made.remove);
      directory = made.folder;
    }
    const opening = Object.keys(SHOPS).map(async (name) => {
      shops[name] = await openShop(name, directory, endings);
    });
    // Each has to be known to `endings`, also where another one fails.
    const failed = (await Promise.allSettled(opening)).find(({ reason }) => reason);
    if (failed) {
      throw failed.reason;
    }
  }, START_TIMEOUT);

  return shops;
}

async function openShop(name, directory, endings) {
  const { service, options } = SHOPS[name];
  const databaseUrl = await createShopDatabase(process.env.TEST_DATABASE_URL);
  endings.push(() => dropShopDatabase(databaseUrl));
  const pool = new Pool({ connectionString: databaseUrl, max: 2, application_name: "jest" });
  endings.push(() => pool.end());
  const backend = await startBackendProcess({
    databaseUrl,
    service,
    directory,
    env: { LOG: "error", IDEMPOTENCY_OPTIONS: options && JSON.stringify(options) },
  });
  endings.push(() => backend.stop());
  const { url, log } = backend;
  const { body } = await logIn(url);
  return { name, url, log, pool, token: body.access_token };
}

module.exports = { useShops };
