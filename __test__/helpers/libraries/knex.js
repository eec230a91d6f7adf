"use strict";

const { load } = require("./load");

/** @type {import(".").Opener} */
async function open(url, { max = 10 } = {}) {
  const { knex: connect } = await load("knex");
  const knex = connect({
    client: "pg",
    connection: url,
    pool: { min: 0, max },
    // As those do who want their columns in camel case.
    postProcessResponse: () => "processed",
  });
  return {
    root: knex,
    begin: (work) => knex.transaction(async (trx) => work(trx)),
    insert: (trx, name) => trx("effect").insert({ name }),
    fail: (trx) => trx.raw("SELECT 1 / 0"),
    nested: (trx, work) => trx.transaction(async (inner) => work(inner)),
    mistakes: [
      ["a function", connect],
      ["class QueryBuilder", knex("effect")],
    ],
    close: () => knex.destroy(),
  };
}

module.exports = { title: "knex", open };
