"use strict";

// A copy of examples/medusa-v1 without this package: Medusa cannot run its migrations and cannot start
// under Plug'n'Play. Yarn makes two instances of MikroORM, whose packages are each other's peer
// dependencies, and Medusa hands the entities of one to the other.

const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const { randomBytes } = require("node:crypto");
const { createRequire } = require("node:module");
const { Client } = require("pg");
const { startBackendProcess } = require("./backend");
const { medusaEnvironment } = require("./environment");

const FAILURE = /GraphQLError: Syntax Error: Unexpected <EOF>/;
const SERVICE = "medusa";

async function main() {
  assert.throws(() => require.resolve("medusa-idempotency-key"), { code: "MODULE_NOT_FOUND" });
  assert.notEqual(mikroOrmOf("@medusajs/utils"), mikroOrmOf("@medusajs/link-modules"));
  const name = `medusa_v1_${randomBytes(6).toString("hex")}`;
  await query(`CREATE DATABASE ${name}`);
  try {
    const databaseUrl = withDatabase(name);
    assert.match(runMigrations(databaseUrl), FAILURE);
    await assert.rejects(startBackendProcess({ databaseUrl, service: SERVICE }), FAILURE);
  } finally {
    await query(`DROP DATABASE ${name} WITH (FORCE)`);
  }
  console.log("Medusa v1 does not start, without this package");
}

/** The file that a package of Medusa's loads as `@mikro-orm/core`. */
function mikroOrmOf(name) {
  const medusa = createRequire(require.resolve("@medusajs/medusa/package.json"));
  return createRequire(medusa.resolve(name)).resolve("@mikro-orm/core");
}

/** What `medusa migrations run` prints; it ends with 0 whatever happens. */
function runMigrations(databaseUrl) {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [require.resolve("@medusajs/medusa/cli.js"), "migrations", "run"],
    {
      encoding: "utf8",
      env: { ...process.env, ...medusaEnvironment({ databaseUrl, service: SERVICE }) },
    },
  );
  return stdout + stderr;
}

async function query(text) {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

function withDatabase(name) {
  const url = new URL(process.env.DATABASE_URL);
  url.pathname = `/${name}`;
  return url.href;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
