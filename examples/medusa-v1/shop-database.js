"use strict";

// Makes databases with a shop in them.

const { execFile } = require("node:child_process");
const { createHash, randomBytes } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const { forPg } = require("./database-url");
const { medusaEnvironment } = require("./environment");

const TEMPLATE = "medusa_v1_template";
const UNFINISHED_TEMPLATE = "medusa_v1_template_unfinished";
/** Of the advisory lock under which the template is made and copied: "medusa" in ASCII. */
const TEMPLATE_LOCK = 0x6d6564757361;
const COMMAND_TIMEOUT = 180_000;
const SEED = path.join("data", "seed.json");

/**
 * Runs Medusa's migrations and fills a database that has no shop yet with that of `data/seed.json`:
 * what `medusa migrations run` and `medusa seed` do.
 *
 * @param {string} databaseUrl
 * @param {{ signal?: AbortSignal }} [options] `signal` gives up
 */
async function prepareDatabase(databaseUrl, { signal } = {}) {
  await medusaCommand(databaseUrl, ["migrations", "run"], signal);
  const regions = await withClient(databaseUrl, (client) =>
    client.query("SELECT 1 FROM region LIMIT 1"),
  );
  if (regions.rowCount === 0) {
    await medusaCommand(databaseUrl, ["seed", "--no-migrate", "--seed-file", SEED], signal);
  }
}

/**
 * Makes a database of its own with a shop in it. The first one on a server takes some seconds: it
 * is a copy of the template `medusa_v1_template`, which is then made.
 *
 * @param {string} serverUrl of any database of the server
 * @param {{ signal?: AbortSignal }} [options] `signal` gives up making the template
 * @returns {Promise<string>} the new database's URL
 */
async function createShopDatabase(serverUrl, { signal } = {}) {
  const name = `medusa_v1_${randomBytes(6).toString("hex")}`;
  await withClient(serverUrl, async (client) => {
    // The server lets it go with the connection, should this process die.
    await client.query("SELECT pg_advisory_lock($1)", [TEMPLATE_LOCK]);
    await ensureTemplate(client, serverUrl, signal);
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${TEMPLATE}`);
  });
  return withDatabase(serverUrl, name);
}

/** Drops a database that `createShopDatabase` made, whoever is still connected to it. */
async function dropShopDatabase(databaseUrl) {
  const name = new URL(databaseUrl).pathname.slice(1);
  await withClient(withDatabase(databaseUrl, "postgres"), (client) => dropDatabase(client, name));
}

/** Drops a database if it is there, whoever is connected to it: `WITH (FORCE)` needs PostgreSQL 13. */
async function dropDatabase(client, name) {
  const quoted = client.escapeIdentifier(name);
  const { rowCount } = await client.query("SELECT FROM pg_database WHERE datname = $1", [name]);
  if (rowCount > 0) {
    await client.query(`ALTER DATABASE ${quoted} ALLOW_CONNECTIONS false`);
    const end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    await client.query(end, [name]);
    await client.query(`DROP DATABASE ${quoted}`);
  }
}

/** Drops the template that `createShopDatabase` leaves on a server, finished or not. */
async function dropTemplate(serverUrl) {
  await withClient(serverUrl, async (client) => {
    await client.query("SELECT pg_advisory_lock($1)", [TEMPLATE_LOCK]);
    await client.query(`DROP DATABASE IF EXISTS ${TEMPLATE}`);
    await dropDatabase(client, UNFINISHED_TEMPLATE);
  });
}

/** A template that another seed or another Medusa made is made anew. */
async function ensureTemplate(client, serverUrl, signal) {
  const fingerprint = fingerprintOf(["package-lock.json", SEED, ...migrations()]);
  const { rows } = await client.query(
    "SELECT shobj_description(oid, 'pg_database') AS fingerprint FROM pg_database WHERE datname = $1",
    [TEMPLATE],
  );
  if (rows[0]?.fingerprint === fingerprint) {
    return;
  }
  await client.query(`DROP DATABASE IF EXISTS ${TEMPLATE}`);
  await dropDatabase(client, UNFINISHED_TEMPLATE);
  await client.query(`CREATE DATABASE ${UNFINISHED_TEMPLATE}`);
  await prepareDatabase(withDatabase(serverUrl, UNFINISHED_TEMPLATE), { signal });
  // A database to which somebody is connected cannot be copied.
  await client.query(`ALTER DATABASE ${UNFINISHED_TEMPLATE} ALLOW_CONNECTIONS false`);
  await client.query(`COMMENT ON DATABASE ${UNFINISHED_TEMPLATE} IS '${fingerprint}'`);
  await client.query(`ALTER DATABASE ${UNFINISHED_TEMPLATE} RENAME TO ${TEMPLATE}`);
}

/** The plugin's, where Medusa finds them. */
function migrations() {
  const folder = path.join("node_modules", "medusa-idempotency-key", "migrations");
  return fs.readdirSync(path.join(__dirname, folder)).map((file) => path.join(folder, file));
}

function fingerprintOf(files) {
  const hash = createHash("sha256");
  for (const file of files) {
    hash.update(fs.readFileSync(path.join(__dirname, file)));
  }
  return hash.digest("hex");
}

async function withClient(url, work) {
  // Here, because it may not be installed yet when this file is loaded.
  const { Client } = require("pg");
  const client = new Client({ connectionString: forPg(url) });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function withDatabase(url, name) {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}

/**
 * Whichever service keeps the keys later: the column that the plugin's migration adds is nothing to
 * Medusa's own.
 */
function medusaCommand(databaseUrl, args, signal) {
  const medusa = path.join("node_modules", "@medusajs", "medusa", "cli.js");
  const options = {
    cwd: __dirname,
    env: { ...process.env, ...medusaEnvironment({ databaseUrl, service: "ours" }) },
    // `medusa seed` does not end when it fails.
    timeout: COMMAND_TIMEOUT,
    signal,
    killSignal: "SIGKILL",
    maxBuffer: Infinity,
  };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [medusa, ...args], options, (error, stdout, stderr) => {
      if (!error) {
        resolve();
        return;
      }
      const said = `${stdout}${stderr}`.slice(-5000);
      const ended = error.signal ?? error.code;
      reject(new Error(`medusa ${args.join(" ")} failed (${ended})\n${said}`));
    });
  });
}

module.exports = { prepareDatabase, createShopDatabase, dropShopDatabase, dropTemplate };
