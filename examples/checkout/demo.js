"use strict";

// Plays a checkout whose process is killed again and again, and checks what the database holds in
// the end: `npm run demo:standalone`.

const { randomUUID } = require("node:crypto");
const { IdempotencyKeyService } = require("../..");
const { attempt } = require("./attempt");
const { audit } = require("./audit");
const { TABLES } = require("./checkout");
const { openDatabase } = require("./database");
const { playDemo, printChecks } = require("./report");
const { progress, timeline } = require("./timeline");

const CART = { id: "cart_01", email: "ada@example.com", subtotal: 5000 };

/** Each stage with the recovery point that it starts from. */
const STAGES = [
  { stage: "taxes", from: "started" },
  { stage: "payment", from: "taxes_calculated" },
  { stage: "order", from: "payment_captured" },
  { stage: "confirmation", from: "order_placed" },
];
const KILLED = STAGES.flatMap(({ stage, from }) => [
  { from, killPoint: { stage, moment: "middle" } },
  { from, killPoint: { stage, moment: "after" } },
]);
/** The last kill takes the answer with it: one retry gets it, another gets it again. */
const LEFT_ALONE = [{ from: "finished" }, { from: "finished" }];
const TRIES = [...KILLED, ...LEFT_ALONE];

async function main(signal) {
  const server = process.env.DATABASE_URL ? "the PostgreSQL of DATABASE_URL" : "PostgreSQL";
  timeline.say(`starting: a checkout of ${STAGES.length} stages, on ${server}`);
  const database = await openDatabase();
  try {
    const request = await prepare(database);
    timeline.say(`POST /store/carts/${CART.id}/complete, idempotency key ${request.key}`);
    const tries = await play(request, signal);
    const points = TRIES.map(({ from }) => from);
    const checks = await audit(database.client, request, tries, points);
    const passed = printChecks("What the database holds", [], checks);
    console.log();
    return passed;
  } finally {
    await database.close();
  }
}

/** Creates the tables and a cart, and chooses the key, as the client does that will ask for its checkout. */
async function prepare({ url, client }) {
  await client.query(TABLES);
  await client.query("INSERT INTO cart VALUES ($1, $2, $3)", Object.values(CART));
  const service = new IdempotencyKeyService({}, { databaseUrl: url });
  try {
    await service.migrate();
  } finally {
    await service.close();
  }
  return { databaseUrl: url, key: randomUUID(), cartId: CART.id };
}

async function play(request, signal) {
  const tries = [];
  for (const { killPoint } of TRIES) {
    signal.throwIfAborted();
    const bar = progress(tries.length + 1, TRIES.length);
    const line = ({ recoveryPoint = "" }, what) => `${bar}  ${recoveryPoint.padEnd(16)}  ${what}`;
    const onProgress = (seen) => timeline.sketch(line(seen, `${seen.stages.join(", ")} …`));
    const seen = await attempt(request, killPoint, { signal, onProgress });
    timeline.say(line(seen, account(seen, killPoint)));
    tries.push(seen);
  }
  return tries;
}

/** What became of a try. */
function account({ stages, answer }, killPoint) {
  if (!killPoint) {
    const ran = stages.length === 0 ? "from the key, no stage run" : `after ${stages.join(", ")}`;
    return `✓ answer ${answer.response_code} ${ran}`;
  }
  const kept = killPoint.moment === "after" ? stages : stages.slice(0, -1);
  const done = kept.map((stage) => `${stage} committed, then `).join("");
  const where = killPoint.moment === "after" ? "" : ` in the middle of ${killPoint.stage}`;
  return `✗ ${done}SIGKILL${where}`;
}

void playDemo(main, {
  passed: "one order, one payment, each effect once",
  failed: "the database does not hold what one checkout leaves",
});
