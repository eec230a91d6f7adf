"use strict";

const { load } = require("./load");

/** A database as Kysely's users open it, and what is the same for both kinds of its transactions. */
async function openKysely(url, { max } = {}) {
  const { CamelCasePlugin, CompiledQuery, Kysely, PostgresDialect, sql } = await load("kysely");
  const { Pool } = await load("pg");
  const pool = new Pool({ connectionString: url, max });
  const db = new Kysely({
    dialect: new PostgresDialect({ pool }),
    plugins: [new CamelCasePlugin()],
  });
  return {
    db,
    raw: CompiledQuery.raw,
    // Its settings are private.
    tellsConnection: false,
    insert: (trx, name) => trx.insertInto("effect").values({ name }).execute(),
    fail: (trx) => sql`SELECT 1 / 0`.execute(trx),
    mistakes: [["class TransactionBuilder", db.transaction()]],
    close: () => db.destroy(),
  };
}

module.exports = { openKysely };
