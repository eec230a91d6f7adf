"use strict";

const { openKysely } = require("./kysely-database");

/** @type {import(".").Opener} */
async function open(url, options) {
  const { db, raw, ...opened } = await openKysely(url, options);
  /** Nested transactions are what their users write. */
  async function nested(trx, work) {
    await trx.executeQuery(raw("SAVEPOINT nested"));
    try {
      return await work(trx);
    } catch (error) {
      await trx.executeQuery(raw("ROLLBACK TO SAVEPOINT nested"));
      throw error;
    }
  }
  return {
    ...opened,
    root: db,
    begin: (work) => db.transaction().execute(async (trx) => work(trx)),
    nested,
  };
}

module.exports = { title: "Kysely", open };
