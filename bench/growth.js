"use strict";

// Whether an operation takes longer in a table of millions of keys than in one of thousands. Both
// tables are in one database, each in a schema of its own, and have their turns in every round.

// The versions of Medusa and TypeORM, which are told with the figures, are the example's.
require("../examples/medusa-v1/prepare").prepare();

const fs = require("node:fs");
const path = require("node:path");
const { parseArgs } = require("node:util");
const { IdempotencyKeyService } = require("..");
const { compare } = require("./compare");
const { describeServer, openServer, withClient } = require("./database");
const { OPEN_EVERY, fill, keyOf } = require("./fill");
const { newRequest } = require("./keys");
const { describeMachine, describeVersions } = require("./machine");
const { middle } = require("./measure");
const { checkLines } = require("./report");
const { judged, ratio, rounded } = require("./results");

const SMALL = 10_000;
const LARGE = 10_000_000;
const TARGET = 1.5;
const PACE = { rounds: 15, seconds: 0.3, warmUp: 2 };
/** A prime, so that steps of it come to every key before they come to one again. */
const STEP = 7_368_787;

const USAGE = `Usage: npm run bench:growth [-- options]

  --keys <number>  of the great table (${LARGE}: about ten minutes and 10 GB of disk)
  --help           this text

The figures of the full size are written to bench/growth.json.
DATABASE_URL  a server to run on, in a database of its own; without it one is started`;

const OPERATIONS = [
  { operation: "create", input: newRequest },
  { operation: "retrieve", input: (table) => table.anyKey() },
  { operation: "lock", input: (table) => table.openKey() },
];

async function main() {
  const { keys, help } = optionsFrom(process.argv.slice(2));
  if (help) {
    console.log(USAGE);
    return;
  }
  const server = await openServer();
  try {
    await run(await server.createDatabase(), Number(keys ?? LARGE));
  } finally {
    await server.remove();
  }
}

function optionsFrom(args) {
  const options = { keys: { type: "string" }, help: { type: "boolean", short: "h" } };
  try {
    const { values } = parseArgs({ args, options });
    if (values.keys !== undefined && !(Number(values.keys) >= SMALL)) {
      throw new Error(`--keys takes a number, of ${SMALL} at least, not ${values.keys}`);
    }
    return values;
  } catch (error) {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
}

async function run(url, size) {
  const { version, settings } = await withClient(url, describeServer);
  const versions = describeVersions(version);
  const taken = { date: new Date().toISOString(), machine: describeMachine(), versions };
  const small = await tableOf(url, "small", SMALL);
  const large = await tableOf(url, "large", size);
  const checks = [];
  try {
    for (const { operation, input } of OPERATIONS) {
      checks.push(await compared(operation, input, { small, large }));
    }
  } finally {
    await Promise.all([small.close(), large.close()]);
  }
  console.log(
    `\nNode ${versions.node}, PostgreSQL ${version}; one caller, ours among ` +
      `${shown(size)} keys against ${shown(SMALL)}\n${checkLines(checks).join("\n")}`,
  );
  if (size === LARGE) {
    keep({
      ...taken,
      settings: { ...PACE, keys: size, server: settings },
      fill: large.fill,
      checks,
    });
  }
}

/** A peer: the service on a table of its own. */
async function tableOf(url, schema, size) {
  const filled = await filledTable(url, schema, size);
  // Keys are locked again and again.
  const options = { databaseUrl: url, schema, maxConnections: 3, lockTimeout: 0 };
  const service = new IdempotencyKeyService({}, options);
  let step = 0;
  const next = (among) => (step++ * STEP) % among;
  return {
    fill: filled,
    anyKey: () => keyOf(next(size) + 1),
    openKey: () => keyOf((next(Math.floor(size / OPEN_EVERY)) + 1) * OPEN_EVERY),
    create: (request) => service.create(request),
    retrieve: (key) => service.retrieve(key),
    lock: (key) => service.lock(key),
    close: () => service.close(),
  };
}

async function filledTable(url, schema, size) {
  console.error(`> filling a table with ${shown(size)} keys`);
  const start = performance.now();
  const seconds = () => Math.round((performance.now() - start) / 1e3);
  await fill(url, schema, size, (done) => {
    console.error(`>   ${shown(done)} of ${shown(size)}, ${seconds()} s`);
  });
  const bytes = await withClient(url, async (client) => {
    const sql = "SELECT pg_total_relation_size($1)::float8 AS bytes";
    return (await client.query(sql, [`${schema}.idempotency_key`])).rows[0].bytes;
  });
  console.error(`>   ${(bytes / 2 ** 30).toFixed(2)} GiB with its indexes, in ${seconds()} s`);
  return { keys: size, bytes, seconds: seconds() };
}

async function compared(operation, input, tables) {
  console.error(`> ${operation}, 1 caller`);
  const call = (table, given) => table[operation](given);
  const figures = await compare(tables, { operation, input, call }, 1, PACE);
  const p50 = (rounds) => rounded(middle(rounds.map((round) => round.p50)));
  const [small, large] = [p50(figures.small), p50(figures.large)];
  return {
    ...{ name: operation, unit: "times", small, large },
    detail: `p50 ${large} µs against ${small} µs`,
    ...judged(ratio(figures.large, figures.small, "p50"), { atMost: TARGET }),
  };
}

function keep(all) {
  fs.writeFileSync(path.join(__dirname, "growth.json"), `${JSON.stringify(all, undefined, 2)}\n`);
}

function shown(number) {
  return number.toLocaleString("en-US");
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
