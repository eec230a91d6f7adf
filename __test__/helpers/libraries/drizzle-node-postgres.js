"use strict";

const { load } = require("./load");

/** @type {import(".").Opener} */
async function open(url, { max = 10 } = {}) {
  const { drizzle } = await load("drizzle-orm/node-postgres");
  const { sql } = await load("drizzle-orm");
  const { Pool } = await load("pg");
  const client = new Pool({ connectionString: url, max });
  const db = drizzle({ client });
  return {
    root: db,
    begin: (work) => db.transaction(work),
    insert: (tx, name) => tx.execute(sql`INSERT INTO effect (name) VALUES (${name})`),
    fail: (tx) => tx.execute(sql`SELECT 1 / 0`),
    nested: (tx, work) => tx.transaction(work),
    mistakes: [["a function", sql]],
    close: () => client.end(),
  };
}

module.exports = { title: "Drizzle over pg", open };
