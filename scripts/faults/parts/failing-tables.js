"use strict";

// Tables that refuse rows: each call that is refused says why, nothing of it is left, nobody else's call fails with it,
// and all of them succeed as soon as the cause has gone.

const { IdempotencyKeyService } = require("../../..");
const { eachOf, hold, noticeAll, query, rejection, withServer, within } = require("../support");
const { CONTROLS, FAULTS } = require("./failing-tables-table");

const SHORT = { creates: 24, rounds: 1 };
const FULL = { creates: 300, rounds: 20 };
/** How many of the creates are of rows that are refused. */
const ONE_OF = 8;
const DUPLICATES = 3;
/** Milliseconds after which a call that has no answer hangs. */
const PATIENCE = 20_000;

const name = "failing-tables";
const title = "Tables that refuse rows";

/**
 * @param {object} options
 * @param {boolean} options.full more creates at once, and all faults several times
 * @param {boolean} options.broken faults that do not go away, hit others, or leave something
 * @param {(line: string) => void} options.log
 */
function run({ full, broken, log }) {
  return withServer({ settings: { max_connections: 200 } }, async ({ url }) => {
    if (broken) {
      await noticeAll(
        log,
        CONTROLS.map((each) => [each.what, () => suffer(url, each, SHORT.creates)]),
      );
    }
    const { creates, rounds } = full ? FULL : SHORT;
    const figures = { "calls that were refused": 0, "calls that others made": 0 };
    for (let round = 0; round < rounds; round += 1) {
      await eachOf(FAULTS, 3, async (fault) => {
        const { refused, others } = await suffer(url, fault, creates);
        figures["calls that were refused"] += refused;
        figures["calls that others made"] += others;
        log(`${fault.what}: ${refused} calls refused with ${fault.code}`);
      });
    }
    return { faults: FAULTS.length, ...figures };
  });
}

let schemas = 0;

/** Makes tables, lets them refuse rows, and heals them. */
async function suffer(server, fault, creates) {
  schemas += 1;
  const url = `${server}?options=-csearch_path%3Dfaulty_${schemas}`;
  await query(url, `CREATE SCHEMA faulty_${schemas}; CREATE TABLE effect (name text NOT NULL)`);
  const service = new IdempotencyKeyService({}, { databaseUrl: url, waitTimeout: PATIENCE });
  try {
    const place = { url, service, fault, batch: batchOf(creates) };
    await service.migrate();
    await service.release(await service.initializeRequest("begun", "POST", {}, "/begun"));
    await query(url, fault.fail);
    const counts = await requireRefused(place);
    await query(url, fault.heal);
    await requireHealed(place);
    return counts;
  } finally {
    await service.close();
  }
}

/** Keys to be created at once; those of the path /bad are what most faults are about. */
function batchOf(creates) {
  return Array.from({ length: creates }, (_, number) => ({
    idempotency_key: `batch-${number}`,
    request_path: number % ONE_OF === ONE_OF - 1 ? "/bad" : "/good",
  }));
}

/** Calls that insert a row, each with a key of its own. */
function insertingCalls({ url, service, fault }) {
  const request = (key) => ({ key, method: "POST", path: "/bad", params: {} });
  const initialize = (keys, key) => keys.initializeRequest(key, "POST", {}, "/bad");
  const inTransaction = (work) =>
    service.atomicPhase_((manager) => work(service.withTransaction(manager), manager));
  return {
    create: (key) => service.create({ idempotency_key: key, request_path: "/bad" }),
    initialized: (key) => initialize(service, key).then((begun) => service.release(begun)),
    attempt: (key) => service.begin(request(key)).then((attempt) => attempt.release()),
    run: (key) => service.runStages(request(key), { started: workOf(url, key, fault) }),
    "bound-create": (key) =>
      inTransaction((bound) => bound.create({ idempotency_key: key, request_path: "/bad" })),
    "bound-run": (key) =>
      inTransaction(async (bound) => {
        const begun = await initialize(bound, key);
        return bound.workStage(begun, workOf(url, key, fault));
      }),
  };
}

/** The work of a stage is one effect; the control's is done outside of the stage's transaction. */
function workOf(url, key, { isHalf = false }) {
  const sql = "INSERT INTO effect VALUES ($1)";
  return async (manager) => {
    await (isHalf ? query(url, sql, [key]) : manager.query(sql, [key]));
    return { response_code: 201, response_body: { key } };
  };
}

async function requireRefused(place) {
  const { url, service, fault, batch } = place;
  const isRefused = ({ request_path: path }) =>
    fault.refuses === "all" || (fault.refuses === "bad" && path === "/bad");
  const counts = { refused: 0, others: 0 };
  const expect = async (what, call, isToFail) => {
    counts[isToFail ? "refused" : "others"] += 1;
    await (isToFail ? requireCode(what, call, fault) : answered(what, call));
  };
  // In one tick, so that they share statements.
  await Promise.all(
    batch.map((columns) =>
      expect(columns.idempotency_key, service.create({ ...columns }), isRefused(columns)),
    ),
  );
  const calls = Object.entries(insertingCalls(place));
  const isRun = (what) => what.endsWith("run") && fault.updates;
  await Promise.all(
    calls.map(([what, call]) =>
      expect(what, call(what), isRefused({ request_path: "/bad" }) || isRun(what)),
    ),
  );
  await Promise.all(
    Array.from({ length: DUPLICATES }, () =>
      expect("begun before", runBegun(place), fault.updates),
    ),
  );
  if (fault.refuses !== "none") {
    const isLeft = new Set(
      batch.filter((row) => !isRefused(row)).map((row) => row.idempotency_key),
    );
    await requireKeys(url, [...isLeft, "begun"]);
  }
  await requireEffects(url, fault.updates ? [] : ["begun"]);
  return counts;
}

/** The request that had begun before its table refused anything. */
function runBegun({ url, service, fault }) {
  const request = { key: "begun", method: "POST", path: "/begun", params: {} };
  return service.runStages(request, { started: workOf(url, "begun", fault) });
}

/** All of the calls succeed, those that were refused as well as those that were not. */
async function requireHealed(place) {
  const { url, service, batch } = place;
  const known = await query(url, "SELECT idempotency_key AS key FROM idempotency_key");
  const keys = new Set(known.map(({ key }) => key));
  const missing = batch.filter((row) => !keys.has(row.idempotency_key));
  await Promise.all(
    missing.map((row) => answered(row.idempotency_key, service.create({ ...row }))),
  );
  const calls = insertingCalls(place);
  const repeated = Object.keys(calls).filter(
    (what) => !(what.endsWith("create") && keys.has(what)),
  );
  await Promise.all(repeated.map((what) => answered(what, calls[what](what))));
  const answers = await Promise.all(
    Array.from({ length: DUPLICATES }, () => answered("begun before", runBegun(place))),
  );
  for (const { response_body: body } of answers) {
    hold(body.key === "begun", `a caller of the request begun got ${JSON.stringify(body)}`);
  }
  const all = [...batch.map((row) => row.idempotency_key), ...Object.keys(calls), "begun"];
  await requireKeys(url, all);
  await requireEffects(url, ["begun", "bound-run", "run"]);
}

async function requireCode(what, call, { what: fault, code }) {
  const error = await within(PATIENCE, rejection(call), `${fault}: ${what}`);
  hold(error.code === code, `${fault}: ${what} fails with ${error.code}, ${error.message}`);
}

async function answered(what, call) {
  const answer = within(PATIENCE, call, what);
  return answer.catch((error) =>
    hold(false, `${what} is refused: ${error.code}, ${error.message}`),
  );
}

/** There are these keys and no others, but for the ones that belong to the fault. */
async function requireKeys(url, expected) {
  const rows = await query(
    url,
    "SELECT idempotency_key AS key FROM idempotency_key WHERE idempotency_key <> 'of the fault'",
  );
  requireSame("keys", rows, expected);
}

async function requireEffects(url, expected) {
  requireSame("effects", await query(url, "SELECT name AS key FROM effect"), expected);
}

function requireSame(what, rows, expected) {
  const sorted = (keys) => keys.toSorted().join(", ");
  const seen = sorted(rows.map(({ key }) => key));
  hold(seen === sorted([...new Set(expected)]), `the ${what} are ${seen}, not ${sorted(expected)}`);
}

module.exports = { name, run, title };
