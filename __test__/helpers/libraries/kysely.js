"use strict";

const { openKysely } = require("./kysely-database");

/** @type {import(".").Opener} */
async function open(url, options) {
  const { db, ...opened } = await openKysely(url, options);
  return {
    ...opened,
    root: db,
    begin: (work) => db.transaction().execute(async (trx) => work(trx)),
  };
}

module.exports = { title: "Kysely", open };
