"use strict";

const { openKysely } = require("./kysely-database");

/** @type {import(".").Opener} */
async function open(url, options) {
  const { db, ...opened } = await openKysely(url, options);
  async function begin(work) {
    const trx = await db.startTransaction().execute();
    try {
      const result = await work(trx);
      await trx.commit().execute();
      return result;
    } catch (error) {
      if (!trx.isRolledBack) {
        await trx.rollback().execute();
      }
      throw error;
    }
  }
  async function nested(trx, work) {
    const inner = await trx.savepoint("nested").execute();
    try {
      return await work(inner);
    } catch (error) {
      await inner.rollbackToSavepoint("nested").execute();
      throw error;
    }
  }
  return { ...opened, root: db, begin, nested };
}

module.exports = { title: "Kysely, controlled transactions", open };
