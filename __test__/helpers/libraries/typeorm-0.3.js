"use strict";

const { DataSource } = require("typeorm");

/** @type {import(".").Opener} */
async function open(url, { max } = {}) {
  const dataSource = new DataSource({ type: "postgres", url, extra: { max } });
  await dataSource.initialize();
  return {
    root: dataSource.manager,
    begin: (work) => dataSource.transaction(async (manager) => work(manager)),
    insert: (manager, name) => manager.query("INSERT INTO effect (name) VALUES ($1)", [name]),
    fail: (manager) => manager.query("SELECT 1 / 0"),
    nested: (manager, work) => manager.transaction(async (inner) => work(inner)),
    mistakes: [
      ["DataSource", dataSource],
      ["QueryRunner", dataSource.createQueryRunner()],
    ],
    close: () => dataSource.destroy(),
  };
}

module.exports = { title: "TypeORM 0.3", open };
