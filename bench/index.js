"use strict";

// What an operation costs, next to Medusa's own service and to the same statement written by hand.
// Only ratios within one run say something: the figures themselves are those of the machine and of
// the moment.

// Medusa and TypeORM are where the example has them.
require("../examples/medusa-v1/prepare").prepare();

const fs = require("node:fs");
const path = require("node:path");
const { parseArgs } = require("node:util");
const { describeServer, migrate, openServer, withClient } = require("./database");
const { describeMachine, describeVersions } = require("./machine");
const { measureAll, measureCompletions, measurePooler, measureRequests } = require("./parts");
const { chart } = require("./chart");
const { poolerVersion } = require("./pooler");
const { checkLines, figuresTable, heading, ratiosTable, rejectionLines } = require("./report");
const { CONNECTIONS, POOLER, SLOW_DISK } = require("./settings");

const USAGE = `Usage: npm run bench [-- options]

  --creates <number>  so many keys for the process that only creates, at most (1000000)
  --quick             a short run that shows that everything works; its figures mean little, and it
                      leaves bench/results.json and the pictures in docs/ as they are
  --requests          only whole requests; it leaves those files, too
  --completions       only completions of carts in the real Medusa v1; it leaves those files, too
  --pooler            only the service through PgBouncer beside the same without; it leaves those files, too
  --help              this text

DATABASE_URL  a server to run on, in databases of its own; without it one is started`;

const RESULTS = path.join(__dirname, "results.json");
const CHART = path.join(__dirname, "../docs/benchmarks.svg");
const REQUESTS_CHART = path.join(__dirname, "../docs/requests.svg");

const FULL = {
  ...{ rounds: 7, seconds: 0.2, warmUp: 0.1, creates: 1_000_000, budget: 280 },
  completions: { pairs: 5, waves: 4 },
};
const QUICK = {
  ...{ rounds: 1, seconds: 0.06, warmUp: 0.02, creates: 1_000, budget: 60 },
  completions: { pairs: 1, waves: 1 },
};
/** The options that measure a part alone. */
const PARTS = {
  requests: measureRequests,
  completions: measureCompletions,
  pooler: measurePooler,
};

async function main() {
  const { quick, creates, help, ...parts } = optionsFrom(process.argv.slice(2));
  if (help) {
    console.log(USAGE);
    return;
  }
  const pace = { ...(quick ? QUICK : FULL), ...(creates && { creates: Number(creates) }) };
  const server = await openServer();
  try {
    const some = PARTS[Object.keys(parts)[0]];
    await run(server, pace, some ?? measureAll, !quick && !some);
  } finally {
    await server.remove();
  }
}

function optionsFrom(args) {
  const options = {
    quick: { type: "boolean" },
    ...Object.fromEntries(Object.keys(PARTS).map((part) => [part, { type: "boolean" }])),
    creates: { type: "string" },
    help: { type: "boolean", short: "h" },
  };
  try {
    const { values } = parseArgs({ args, options });
    if (values.creates !== undefined && !/^[1-9]\d*$/.test(values.creates)) {
      throw new Error(`--creates takes a number, not ${values.creates}`);
    }
    return values;
  } catch (error) {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
}

async function run(server, pace, measure, isKept) {
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1e3;
  const url = await server.createDatabase();
  await migrate(url);
  const taken = await withClient(url, (client) => describe(client, pace));
  console.log(`${heading(taken)}\n`);
  const measured = await measure({ server, url, pace, elapsed });
  const seconds = Math.round(elapsed());
  console.log(blocksOf(measured, seconds).join("\n\n"));
  if (isKept) {
    keep({ ...taken, seconds }, measured);
  }
}

function blocksOf({ requests, single, bound, pooled, checks, notes }, seconds) {
  const groups = [requests, single, bound, pooled].filter((results) => results.length > 0);
  const last = [...rejectionLines(single), ...notes, `The run took ${seconds} s.`];
  const lines = [checkLines(checks), last].filter((some) => some.length > 0);
  return [
    ...groups.map(figuresTable),
    ...groups.map(ratiosTable),
    ...lines.map((some) => some.join("\n")),
  ];
}

async function describe(client, { rounds, seconds }) {
  const { version, settings } = await describeServer(client);
  return {
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: { ...describeVersions(version), pooler: poolerVersion() },
    settings: {
      ...{ rounds, seconds, connections: CONNECTIONS, server: settings },
      ...{ slowDisk: SLOW_DISK, pooler: POOLER },
    },
  };
}

function keep(taken, { requests, single, bound, pooled, checks }) {
  const all = { ...taken, results: [...requests, ...single, ...bound, ...pooled], checks };
  fs.writeFileSync(RESULTS, `${JSON.stringify(all, undefined, 2)}\n`);
  const { machine, versions, date } = taken;
  const takenOn =
    `${machine.processor}, ${machine.cores} cores; Node ${versions.node}, PostgreSQL ${versions.postgresql}, ` +
    `Medusa ${versions.medusa}; ${date.slice(0, 10)}`;
  const durability = "PostgreSQL's default settings of durability for all.";
  const ofRequests = [takenOn, `Connections: ${CONNECTIONS.requests} each. ${durability}`];
  const ofCalls = [
    takenOn,
    `Connections: ours ${CONNECTIONS.ours}, medusa ${CONNECTIONS.medusa}, pg ${CONNECTIONS.pg}, ` +
      `pgbench ${CONNECTIONS.pgbench}; bound stages ${CONNECTIONS.boundStages}. ${durability}`,
  ];
  fs.mkdirSync(path.dirname(CHART), { recursive: true });
  fs.writeFileSync(REQUESTS_CHART, chart(requests, ofRequests, "Requests"));
  fs.writeFileSync(CHART, chart([...single, ...bound], ofCalls, "Calls"));
  const written = [RESULTS, REQUESTS_CHART, CHART];
  console.log(`Written: ${written.map((file) => path.relative("", file)).join(", ")}`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
