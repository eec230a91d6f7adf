"use strict";

const { load } = require("./load");

/** @type {import(".").Opener} */
async function open(url, { max = 10 } = {}) {
  const { drizzle } = await load("drizzle-orm/postgres-js");
  const { sql } = await load("drizzle-orm");
  const { default: postgres } = await load("postgres");
  const client = postgres(url, { max, onnotice: () => {} });
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

module.exports = { title: "Drizzle over postgres.js", open };
