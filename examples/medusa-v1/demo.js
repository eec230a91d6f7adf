"use strict";

// Loses the answer of a real Medusa v1 to one order and kills it in the middle of another, retries
// both with their idempotency keys, completes a third cart many times at once, beside a Medusa with
// its own keys, and checks what the databases hold in the end: `npm run demo`.

const { playDemo, printChecks } = require("../checkout/report");
const { progress, timeline } = require("../checkout/timeline");
const { audit } = require("./demo/audit");
const { openBackends } = require("./demo/backends");
const { openShopDatabases } = require("./demo/database");
const { CALLERS } = require("./demo/rush");
const { auditRush } = require("./demo/rush-audit");
const { killInTheMiddle, loseAnswer, rushBoth } = require("./demo/story");
const { prepare } = require("./prepare");

const STEPS = 8;
/** Milliseconds; shorter than the default, so that nobody waits for the request that is killed. */
const LEASE_TIMEOUT = 2000;
const REDRAW_INTERVAL = 100;
const INDENT = " ".repeat(10);

async function main(signal) {
  prepare();
  const server = process.env.DATABASE_URL ? "the PostgreSQL of DATABASE_URL" : "PostgreSQL";
  timeline.say(`starting: a Medusa v1 shop, on ${server}`);
  const shop = await during(
    "Medusa migrates and seeds a database …",
    openShopDatabases(2, { signal }),
  );
  const backends = openBackends(signal);
  try {
    timeline.say("its database is migrated and seeded");
    return await play(shop.databases, backends, signal);
  } catch (error) {
    throw withLogs(error, backends);
  } finally {
    await backends.close();
    await shop.close();
  }
}

/** Plays the story, prints its audit, and returns whether all is as it should be. */
async function play([database, medusas], backends, signal) {
  const env = { IDEMPOTENCY_OPTIONS: JSON.stringify({ leaseTimeout: LEASE_TIMEOUT }) };
  const start = () => backends.start({ databaseUrl: database.url, env });
  const stage = { database, start, step: numbered(signal), signal };
  const starting = start();
  // It takes seconds, and is not needed before some have passed.
  const theirs = backends.start({ databaseUrl: medusas.url, service: "medusa" });

  const backend = await stage.step("starting the backend", async () => {
    const { url } = await starting;
    return [await starting, `✓ Medusa answers at ${url}, with this package's keys`];
  });
  const lost = await loseAnswer(stage, backend);
  const rushes = await rushBoth(stage, backend, { starting: theirs, client: medusas.client });
  const killed = await killInTheMiddle(stage, backend);

  const purchases = await audit(database.client, [lost, killed]);
  const passed = [
    printChecks("The database", ["answer lost", "backend killed"], purchases),
    printChecks(`${CALLERS} at once`, ["this package", "Medusa's own"], auditRush(rushes)),
  ];
  console.log();
  return passed.every(Boolean);
}

/** Prints each step of the story: what is under way, and what came of it. */
function numbered(signal) {
  let count = 0;
  return async (what, work) => {
    signal.throwIfAborted();
    count += 1;
    const bar = progress(count, STEPS);
    const [result, outcome] = await during(`${bar}  ${what} …`, work());
    timeline.say(`${bar}  ${what}`);
    console.log(`${INDENT}${" ".repeat(bar.length)}  ${outcome}`);
    return result;
  };
}

/** Lets the clock of a line run while it is under way. */
async function during(what, working) {
  timeline.sketch(what);
  const redrawing = setInterval(() => timeline.sketch(what), REDRAW_INTERVAL);
  try {
    return await working;
  } finally {
    clearInterval(redrawing);
  }
}

/** What the backends printed says more than the client saw. */
function withLogs(error, backends) {
  const log = `The backends' log:\n${backends.logs()}`;
  return new Error(`${error.message}\n\n${log}`.trimEnd(), { cause: error });
}

void playDemo(main, {
  passed: "one order and one payment for each cart",
  failed: "this is not what one completion each leaves",
});
