"use strict";

const { load } = require("./load");

/** @type {import(".").Opener} */
async function open(url, { max } = {}) {
  const { Client, Pool } = await load("pg");
  const pool = new Pool({ connectionString: url, max });
  async function begin(work) {
    const client = await pool.connect();
    try {
      await client.query("BEGIN");
      const result = await work(client);
      await client.query("COMMIT");
      return result;
    } catch (error) {
      await client.query("ROLLBACK");
      throw error;
    } finally {
      client.release();
    }
  }
  return {
    root: pool,
    begin,
    insert: (client, name) => client.query("INSERT INTO effect (name) VALUES ($1)", [name]),
    fail: (client) => client.query("SELECT 1 / 0"),
    nested: async (client, work) => {
      await client.query("SAVEPOINT nested");
      try {
        await work(client);
      } catch (error) {
        await client.query("ROLLBACK TO SAVEPOINT nested");
        throw error;
      }
    },
    mistakes: [
      ["an object", { pool }],
      ["a function", Client],
    ],
    close: () => pool.end(),
  };
}

module.exports = { title: "pg", open };
