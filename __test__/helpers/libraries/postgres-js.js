"use strict";

const { load } = require("./load");

/** @type {import(".").Opener} */
async function open(url, { max = 10 } = {}) {
  const { default: postgres } = await load("postgres");
  const sql = postgres(url, { max, onnotice: () => {} });
  return {
    root: sql,
    begin: (work) => sql.begin(work),
    insert: (tx, name) => tx`INSERT INTO effect (name) VALUES (${name})`,
    fail: (tx) => tx`SELECT 1 / 0`,
    nested: (tx, work) => tx.savepoint(work),
    mistakes: [["a function", postgres]],
    close: () => sql.end(),
  };
}

module.exports = { title: "postgres.js", open };
