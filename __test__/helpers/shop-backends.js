"use strict";

const { useEndings } = require("./endings");
const { START_TIMEOUT, openShop } = require("./shop");
const { makeProject } = require("./shop-project");

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
      shops[name] = { name };
      await openShop(shops[name], { ...SHOPS[name], directory }, endings);
    });
    // Each has to be known to `endings`, also where another one fails.
    const failed = (await Promise.allSettled(opening)).find(({ reason }) => reason);
    if (failed) {
      throw failed.reason;
    }
  }, START_TIMEOUT);

  return shops;
}

module.exports = { useShops };
