"use strict";

const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const { Client, Pool } = require("pg");
const { IdempotencyKeyService } = require("../..");

const SETTLE_TIMEOUT = 30_000;
const PATIENCE = 60_000;

/**
 * Gives a test file a fresh database from the template, and fails every test that leaves a
 * transaction open in it, and the file when connections are left in the end.
 *
 * @returns an object whose fields are there from `beforeAll` on:
 *   `url`; `pool`, a `pg` pool to look and meddle with; `service(options?, Class?)`, which makes a
 *   service; `closed(user)`, which sees to it that something with a `close()` is closed after the
 *   file, as such services are; `until(condition)`, which waits until something is true in SQL;
 *   `untilBlocked(count?)`, which waits until so many of its backends wait for a lock;
 *   `untilAsked(applicationName, times)`, which waits until connections of that name have sent as many
 *   statements more
 */
function useDatabase() {
  const database = {};
  const users = [];
  let name;

  beforeAll(async () => {
    name = `idempotency_${randomUUID().replaceAll("-", "")}`;
    await copyTemplate(name);
    const url = new URL(process.env.TEST_DATABASE_URL);
    url.pathname = `/${name}`;
    database.url = url.href;
    database.pool = new Pool({ connectionString: url.href, max: 5, application_name: "jest" });
    database.until = (condition) => until(database.pool, condition);
    database.untilBlocked = (count = 1) =>
      database.until(`(SELECT count(*) >= ${count} FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock')`);
    database.untilAsked = (application, times) => untilAsked(database.pool, application, times);
    database.closed = (user) => {
      users.push(user);
      return user;
    };
    database.service = (options = {}, Class = IdempotencyKeyService) =>
      database.closed(new Class({}, { databaseUrl: database.url, ...options }));
  });

  afterEach(async () => {
    const open = await eventuallyNone(() => openTransactions(name));
    if (open.length > 0) {
      throw new Error(`the test left transactions open: ${JSON.stringify(open)}`);
    }
  });

  afterAll(async () => {
    await Promise.all(users.map((user) => user.close()));
    await database.pool.end();
    const left = await eventuallyNone(() => connections(name));
    await admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [
      name,
    ]);
    await admin(`DROP DATABASE ${name}`);
    if (left.length > 0) {
      throw new Error(`connections were left open: ${JSON.stringify(left)}`);
    }
  });

  return database;
}

/** One at a time: a template cannot be copied while somebody else copies it. */
async function copyTemplate(name) {
  const client = new Client({ connectionString: process.env.TEST_DATABASE_URL });
  await client.connect();
  await client.query("SELECT pg_advisory_lock(hashtext('copy template'))");
  await client.query(`CREATE DATABASE ${name} TEMPLATE ${process.env.TEST_TEMPLATE}`);
  await client.end();
}

function openTransactions(name) {
  return admin(
    `SELECT pid, application_name, state, left(query, 80) AS query FROM pg_stat_activity
     WHERE datname = $1 AND xact_start IS NOT NULL AND backend_type = 'client backend'`,
    [name],
  );
}

function connections(name) {
  return admin(
    `SELECT pid, application_name, state, left(query, 80) AS query FROM pg_stat_activity
     WHERE datname = $1 AND backend_type = 'client backend'`,
    [name],
  );
}

async function until(pool, condition) {
  for (const deadline = Date.now() + PATIENCE; Date.now() < deadline; await sleep(2)) {
    if ((await pool.query(`SELECT ${condition} AS holds`)).rows[0].holds) {
      return;
    }
  }
  throw new Error(`never became true: ${condition}`);
}

async function untilAsked(pool, application, times) {
  const seen = new Set();
  for (const deadline = Date.now() + PATIENCE; Date.now() < deadline; await sleep(2)) {
    const { rows } = await pool.query(
      `SELECT pid || ' ' || query_start AS statement FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = $1`,
      [application],
    );
    rows.forEach(({ statement }) => seen.add(statement));
    // The first may be from before.
    if (seen.size > times) {
      return;
    }
  }
  throw new Error(`${application} sent ${seen.size} statements instead of ${times + 1}`);
}

/** The server learns of an end a moment after the client. */
async function eventuallyNone(look) {
  for (const deadline = Date.now() + SETTLE_TIMEOUT; ; await sleep(20)) {
    const found = await look();
    if (found.length === 0 || Date.now() > deadline) {
      return found;
    }
  }
}

async function admin(sql, parameters) {
  const client = new Client({ connectionString: process.env.TEST_DATABASE_URL });
  await client.connect();
  try {
    return (await client.query(sql, parameters)).rows;
  } finally {
    await client.end();
  }
}

/** What a promise rejects with. */
async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("the promise was expected to reject");
}

module.exports = { useDatabase, rejection };
