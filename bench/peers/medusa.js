"use strict";

// Medusa's own service. What it keeps in a field while a call runs would make calls of one instance
// join each other's transactions; Medusa resolves one for each request, and so does this peer.

const { MedusaService, cradleOf, openDataSource } = require("./medusa-v1");

/**
 * What its SERIALIZABLE initializeRequest rejects with under load. It repeats the transaction once;
 * and where it is the lookup that fails, it swallows that and inserts into the aborted transaction.
 */
const SERIALIZATION_FAILURES = ["40001", "25P02"];

/**
 * @param {string} url
 * @param {{ connections: number }} settings
 */
async function open(url, settings) {
  const dataSource = await openDataSource(url, settings);
  const cradle = cradleOf(dataSource);
  const resolve = () => new MedusaService(cradle);
  return {
    // lock() never works on PostgreSQL: it writes a number into a timestamp column.
    knows: (operation) => operation !== "lock",
    mayReject: ({ code }) => SERIALIZATION_FAILURES.includes(code),
    create: (request) => resolve().create(request),
    retrieve: (key) => resolve().retrieve(key),
    update: (key, changes) => resolve().update(key, changes),
    initializeRequest: (headerKey, { request_method, request_params, request_path }) =>
      resolve().initializeRequest(headerKey, request_method, request_params, request_path),
    workStage: (key, callback) => resolve().workStage(key, callback),
    close: () => dataSource.destroy(),
  };
}

module.exports = { open };
