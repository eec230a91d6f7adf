"use strict";

// Loses the answer of a real Medusa v1 to one order and kills it in the middle of another, retries
// both with their idempotency keys, and checks what the database holds in the end: `npm run demo`.

const { elapsed, progress, timeline } = require("../checkout/timeline");
const { startBackendProcess } = require("./backend");
const { audit } = require("./demo/audit");
const { openShopDatabase } = require("./demo/database");
const { killInTheMiddle, loseAnswer } = require("./demo/story");
const { prepare } = require("./prepare");

const STEPS = 7;
const REDRAW_INTERVAL = 100;
const INDENT = " ".repeat(10);

async function main(signal) {
  prepare();
  const server = process.env.DATABASE_URL ? "the PostgreSQL of DATABASE_URL" : "PostgreSQL";
  timeline.say(`starting: a Medusa v1 shop, on ${server}`);
  const database = await during("Medusa migrates and seeds a database …", openShopDatabase());
  const backends = [];
  const start = async () => {
    signal.throwIfAborted();
    const backend = await startBackendProcess({ databaseUrl: database.url });
    backends.push(backend);
    return backend;
  };
  try {
    timeline.say("its database is migrated and seeded");
    const purchases = await play({ database, start, step: numbered(signal), signal });
    return printed(await audit(database.client, purchases));
  } catch (error) {
    throw withLogs(error, backends);
  } finally {
    await Promise.all(backends.map((backend) => backend.kill()));
    await database.close();
  }
}

async function play(stage) {
  const backend = await stage.step("starting the backend", async () => {
    const started = await stage.start();
    return [started, `✓ Medusa answers at ${started.url}, with this package's keys`];
  });
  return [await loseAnswer(stage, backend), await killInTheMiddle(stage, backend)];
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

/** Prints the checks as a table and returns whether all of them passed. */
function printed(checks) {
  const row = (values) => values.map((value) => `${value}`.padEnd(15)).join(" ");
  console.log(`\n${INDENT}${"The database".padEnd(12)} ${row(["answer lost", "backend killed"])}`);
  for (const { name, values, note, passed } of checks) {
    console.log(`        ${passed ? "✓" : "✗"} ${name.padEnd(12)} ${row(values)} ${note}`);
  }
  console.log();
  return checks.every(({ passed }) => passed);
}

/** What the backends printed says more than the client saw. */
function withLogs(error, backends) {
  const logs = backends.map(({ log }) => log()).join("");
  return new Error(`${error.message}\n\nThe backend's log:\n${logs}`.trimEnd(), { cause: error });
}

/** Ctrl-C ends what is under way, and then the demo as any failure does. */
function interruption() {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"]) {
    process.once(name, () => controller.abort(new Error(`interrupted by ${name}`)));
  }
  return controller.signal;
}

const signal = interruption();
main(signal)
  .then((passed) => {
    if (!passed) {
      throw new Error("the database does not hold what one completion leaves: see the ✗ above");
    }
    console.log(`✓ one order and one payment for each cart, in ${elapsed()}`);
  })
  .catch((error) => {
    process.exitCode = 1;
    console.error(`\n✗ the demo failed after ${elapsed()}: ${(signal.reason ?? error).message}`);
  });
