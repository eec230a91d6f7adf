"use strict";

// The libraries whose open transactions a service can be bound to, each as handles.test.js uses it. Support for
// another one is a file in lib/handles and a row here.

const { openTypeOrm } = require("./flows");

/**
 * @typedef {object} OpenHandles
 * @property {(options?: object) => object} service makes one that works on the same database
 * @property {(work: (handle: object) => unknown) => Promise<unknown>} transaction runs work in a transaction, which
 *   is rolled back if it rejects
 * @property {(handle: object, work: (nested: object) => unknown) => Promise<unknown>} nested the same in a savepoint
 * @property {(handle: object, sql: string, parameters: unknown[]) => Promise<object[]>} query
 * @property {(handle: object) => Promise<void>} rollBack ends the transaction before its work has ended
 * @property {(handle: object) => boolean} isOpen
 * @property {() => [string, unknown][]} mistakes what people pass in place of a handle, and what it is
 */

/** @type {[name: string, open: (database: object, options?: { schema?: string }) => Promise<OpenHandles>][]} */
const HANDLES = [
  ["this package's TransactionManager", openOwn],
  ["TypeORM's EntityManager", openEntityManagers],
];

async function openOwn(database, { schema } = {}) {
  const service = (options) => database.service({ schema, ...options });
  const opening = service();
  return {
    service,
    transaction: (work) => opening.atomicPhase_(work),
    nested: (manager, work) => manager.transaction(work),
    query: (manager, sql, parameters) => manager.query(sql, parameters),
    rollBack: (manager) => manager.queryRunner.rollbackTransaction(),
    isOpen: (manager) => manager.queryRunner.isTransactionActive,
    mistakes: () => [["a service", opening]],
  };
}

async function openEntityManagers(database, options) {
  const { dataSource, service } = await openTypeOrm(database, options);
  return {
    service,
    transaction: (work) => dataSource.transaction(async (manager) => work(manager)),
    nested: (manager, work) => manager.transaction(async (inner) => work(inner)),
    query: (manager, sql, parameters) => manager.query(sql, parameters),
    rollBack: (manager) => manager.queryRunner.rollbackTransaction(),
    isOpen: (manager) => manager.queryRunner.isTransactionActive,
    mistakes: () => [
      ["a DataSource", dataSource],
      ["a query runner", dataSource.createQueryRunner()],
    ],
  };
}

module.exports = { HANDLES };
