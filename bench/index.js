"use strict";

// What an operation costs, next to the same statement written by hand. Only ratios within one run
// say something: the figures themselves are those of the machine and of the moment.

const assert = require("node:assert");
const { parseArgs } = require("node:util");
const { IdempotencyKeyService } = require("..");
const { measureBoundary } = require("./boundary");
const { emptyDatabase, describeServer, withClient } = require("./database");
const { Keys } = require("./keys");
const { measure } = require("./measure");
const { boundaryLines, heading, table } = require("./report");
const { CALLERS, scenariosOn } = require("./scenarios");
const ours = require("./peers/ours");
const pg = require("./peers/pg");
const pgbench = require("./peers/pgbench");

const USAGE = `Usage: npm run bench [-- --quick]

  --quick  a short run that shows that everything works; its figures mean little
  --help   this text

DATABASE_URL  a server to run on, in a database of its own; without it one is started`;

const CONNECTIONS = 10;
/** Microseconds. */
const BOUNDARY_TARGET = 30;
const FULL = { rounds: 7, seconds: 0.2, warmUp: 0.1 };
const QUICK = { rounds: 1, seconds: 0.06, warmUp: 0.02 };

async function main() {
  const { quick, help } = optionsFrom(process.argv.slice(2));
  if (help) {
    console.log(USAGE);
    return;
  }
  const database = await emptyDatabase();
  try {
    await migrate(database.url);
    await withClient(database.url, (client) => run(client, database.url, quick ? QUICK : FULL));
  } finally {
    await database.remove();
  }
}

function optionsFrom(args) {
  const options = { quick: { type: "boolean" }, help: { type: "boolean", short: "h" } };
  try {
    return parseArgs({ args, options }).values;
  } catch (error) {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
}

async function migrate(url) {
  const service = new IdempotencyKeyService({}, { databaseUrl: url });
  await service.migrate();
  await service.close();
}

async function run(client, url, pace) {
  const withPgbench = pgbench.isThere();
  const server = await describeServer(client);
  console.log(`${heading({ server, ...pace, connections: CONNECTIONS, withPgbench })}\n`);
  const keys = new Keys(client);
  await keys.seed();
  const peers = await openPeers(url, withPgbench);
  try {
    await requireSameAnswers(peers, keys);
    const results = [];
    for (const scenario of scenariosOn(keys)) {
      for (const callers of CALLERS) {
        progress(`${scenario.name}, ${callers} ${callers === 1 ? "caller" : "callers"}`);
        results.push({ scenario, callers, figures: await compare(peers, scenario, callers, pace) });
      }
    }
    progress("the boundary");
    const crossings = await measureBoundary(url, pace);
    console.log(table(results, Object.keys(peers)));
    console.log(`\n${boundaryLines(crossings, BOUNDARY_TARGET)}`);
  } finally {
    await Promise.all(Object.values(peers).map((peer) => peer.close()));
  }
}

async function openPeers(url, withPgbench) {
  const peers = {};
  for (const { name, open } of [ours, pg.plain, pg.prepared, ...(withPgbench ? [pgbench] : [])]) {
    peers[name] = await open(url, { connections: CONNECTIONS });
  }
  return peers;
}

/** Peers are comparable only if they do the same. */
async function requireSameAnswers({ ours, pg, prepared }, keys) {
  const key = keys.known();
  const answer = await ours.retrieve(key);
  for (const peer of [pg, prepared]) {
    assert.deepStrictEqual(await peer.retrieve(key), answer);
  }
}

/** Rounds of a scenario, in each of which every peer has its turn. */
async function compare(peers, scenario, callers, { rounds, seconds, warmUp }) {
  const names = Object.keys(peers).filter((name) => knows(peers[name], scenario.operation));
  const inProcess = names.filter((name) => !peers[name].run);
  await oneRound(peers, inProcess, scenario, callers, warmUp);
  const figures = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    const measured = await oneRound(peers, names, scenario, callers, seconds);
    names.forEach((name) => figures[name].push(measured[name]));
    // Nobody is always the first.
    names.push(names.shift());
  }
  return figures;
}

function knows(peer, operation) {
  return peer.knows?.(operation) ?? true;
}

async function oneRound(peers, names, scenario, callers, seconds) {
  const figures = {};
  for (const name of names.filter((name) => !peers[name].run)) {
    await scenario.prepare?.(seconds);
    const call = (input) => scenario.call(peers[name], input);
    figures[name] = await measure({ input: scenario.input, call, callers, seconds });
  }
  for (const name of names.filter((name) => peers[name].run)) {
    // As many calls as take another peer the time of a round.
    figures[name] = await peers[name].run(scenario.operation, callers, figures.pg.calls);
  }
  return figures;
}

function progress(what) {
  console.error(`> ${what}`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
