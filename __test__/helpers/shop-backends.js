"use strict";

const { Pool } = require("pg");
const { startBackendProcess } = require("../../examples/medusa-v1/backend");
const { createShopDatabase, dropShopDatabase } = require("../../examples/medusa-v1/prepare");
const { logIn } = require("../../examples/medusa-v1/shop");
const { makeProject } = require("./shop-project");

/** Migrating and seeding the first database of a server included, on a busy machine. */
const START_TIMEOUT = 180_000;

/**
 * Starts one Medusa with its own idempotency keys and one with this package's, each on a database of
 * its own, for the tests of a file or a `describe`.
 *
 * @param {{ project?: boolean }} [options] `project`: the fixture project instead of the example
 * @returns an object whose fields `medusa` and `ours` are there from `beforeAll` on: `service`,
 *   `url`, an admin's `token`, a `pool` on the database, and the backend's `log()`
 */
function useShops({ project = false } = {}) {
  const shops = {};
  const endings = [];

  beforeAll(async () => {
    let start = startBackendProcess;
    if (project) {
      const made = makeProject();
      endings.push(made.remove);
      start = made.startBackendProcess;
    }
    const opening = ["medusa", "ours"].map(async (service) => {
      shops[service] = await openShop(service, start, endings);
    });
    // Each has to be known to `endings`, also where the other one fails.
    const failed = (await Promise.allSettled(opening)).find(({ reason }) => reason);
    if (failed) {
      throw failed.reason;
    }
  }, START_TIMEOUT);

  // A database goes after those who are connected to it, and each goes even where another one fails.
  afterAll(async () => {
    const failures = [];
    for (const end of endings.reverse()) {
      await Promise.resolve(end()).catch((error) => failures.push(error));
    }
    if (failures.length > 0) {
      throw failures[0];
    }
  }, START_TIMEOUT);

  return shops;
}

async function openShop(service, start, endings) {
  const databaseUrl = await createShopDatabase(process.env.TEST_DATABASE_URL);
  endings.push(() => dropShopDatabase(databaseUrl));
  const pool = new Pool({ connectionString: databaseUrl, max: 2, application_name: "jest" });
  endings.push(() => pool.end());
  const backend = await start({ databaseUrl, service, env: { LOG: "error" } });
  endings.push(() => backend.stop());
  const { url, log } = backend;
  const { body } = await logIn(url);
  return { service, url, log, pool, token: body.access_token };
}

module.exports = { useShops };
