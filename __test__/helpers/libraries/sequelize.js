"use strict";

const { load } = require("./load");

/** @type {import(".").Opener} */
async function open(url, { max = 10 } = {}) {
  const { Sequelize } = await load("sequelize");
  const sequelize = new Sequelize(url, { logging: false, pool: { max } });
  const Effect = sequelize.define(
    "Effect",
    { name: { type: "text", primaryKey: true } },
    { tableName: "effect", timestamps: false },
  );
  return {
    root: sequelize,
    begin: (work) => sequelize.transaction(async (transaction) => work(transaction)),
    insert: (transaction, name) => Effect.create({ name }, { transaction }),
    fail: (transaction) => sequelize.query("SELECT 1 / 0", { transaction }),
    nested: (transaction, work) =>
      sequelize.transaction({ transaction }, async (inner) => work(inner)),
    mistakes: [
      ["class PostgresQueryInterface", sequelize.getQueryInterface()],
      ["a function", Effect],
    ],
    close: () => sequelize.close(),
  };
}

module.exports = { title: "Sequelize", open };
