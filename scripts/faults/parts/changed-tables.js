"use strict";

// Tables that their owner changes, replaces, and takes away for a while, under load.

const { createEffects, holdOnce, startLoad } = require("../load");
const { eventually, hold, noticeAll, query, withServer } = require("../support");
const { requireAllKinds, startUsers } = require("./changed-tables-users");

const CALLERS = 8;
const SHORT = { rounds: 1, between: 2 * CALLERS };
const FULL = { rounds: 5, between: 10 * CALLERS };

/**
 * What calls may fail with while their table is not there: the lease of an attempt that fails then cannot be released,
 * and runs out.
 */
const ABSENT = ["42P01", "idempotency_key_in_use"];
/** The same while rows vanish between two calls. */
const VANISHED = [...ABSENT, "not_found", "lease_lost"];

/**
 * @typedef {object} Change
 * @property {string} what
 * @property {string[]} steps SQL; after each of them callers go on, or fail if it takes the table away
 * @property {string[]} [codes] what calls may fail with meanwhile; nothing, if it is missing
 * @property {boolean} [isAbsent] the table is not there after the first step
 * @property {boolean} [migrates] the service has to make again in the end what is missing
 */

/** @type {Change[]} */
const CHANGES = [
  {
    what: "columns are added, and dropped",
    steps: [
      "ALTER TABLE idempotency_key ADD COLUMN extra text DEFAULT 'x', ADD COLUMN more int[]",
      "ALTER TABLE idempotency_key DROP COLUMN extra, DROP COLUMN more",
    ],
  },
  {
    what: "the column for fingerprints is dropped, and added",
    // Each call that began when the column was there.
    codes: ["42703"],
    steps: ["ALTER TABLE idempotency_key DROP COLUMN request_fingerprint"],
    migrates: true,
  },
  {
    what: "the column for an answer's headers is dropped, and added",
    codes: ["42703"],
    steps: ["ALTER TABLE idempotency_key DROP COLUMN response_headers"],
    migrates: true,
  },
  {
    what: "columns get other types, and their own again",
    steps: [
      `ALTER TABLE idempotency_key ALTER request_path TYPE text, ALTER response_code TYPE bigint,
         ALTER recovery_point TYPE character(20)`,
      `ALTER TABLE idempotency_key ALTER request_path TYPE varchar, ALTER response_code TYPE int,
         ALTER recovery_point TYPE varchar`,
    ],
  },
  {
    what: "the table of the stages' work changes",
    steps: [
      "ALTER TABLE effect ADD COLUMN extra int DEFAULT 1",
      "ALTER TABLE effect ALTER extra TYPE text",
      "ALTER TABLE effect DROP COLUMN extra",
    ],
  },
  {
    what: "the unique index is made again",
    steps: [
      `DO $$ BEGIN
         EXECUTE (SELECT 'DROP INDEX ' || indexrelid::regclass FROM pg_index
           WHERE indrelid = 'idempotency_key'::regclass AND NOT indisprimary);
         CREATE UNIQUE INDEX ON idempotency_key (idempotency_key);
       END $$`,
      "REINDEX TABLE CONCURRENTLY idempotency_key",
    ],
  },
  { what: "VACUUM FULL", steps: ["VACUUM FULL idempotency_key", "VACUUM FULL effect"] },
  {
    what: "the table moves along the search path",
    steps: [
      "ALTER TABLE idempotency_key SET SCHEMA second",
      "ALTER TABLE idempotency_key SET SCHEMA public",
    ],
  },
  {
    what: "a copy takes the table's place",
    steps: [
      `BEGIN; LOCK TABLE idempotency_key;
       CREATE TABLE copy (LIKE idempotency_key INCLUDING ALL);
       INSERT INTO copy SELECT * FROM idempotency_key;
       DROP TABLE idempotency_key; ALTER TABLE copy RENAME TO idempotency_key; COMMIT`,
    ],
  },
  {
    what: "the table is renamed, and gets its name again",
    codes: ABSENT,
    isAbsent: true,
    steps: [
      "ALTER TABLE idempotency_key RENAME TO away",
      "ALTER TABLE away RENAME TO idempotency_key",
    ],
  },
  {
    what: "the table moves where nobody finds it, and back",
    codes: ABSENT,
    isAbsent: true,
    steps: [
      "ALTER TABLE idempotency_key SET SCHEMA hidden",
      "ALTER TABLE hidden.idempotency_key SET SCHEMA public",
    ],
  },
  {
    what: "TRUNCATE",
    codes: VANISHED,
    steps: ["TRUNCATE idempotency_key", "TRUNCATE idempotency_key"],
  },
  {
    what: "the table is dropped, and made again",
    codes: VANISHED,
    isAbsent: true,
    migrates: true,
    steps: ["DROP TABLE idempotency_key"],
  },
];

const [ADDED] = CHANGES;
const DROPPED = CHANGES.at(-1);

/** What is broken on purpose, as options of {@link usedWhile}. */
const CONTROLS = [
  // The columns stay: without them the plan would be right again.
  [
    "a stale plan that reaches a caller",
    { changes: [{ ...ADDED, steps: ADDED.steps.slice(0, 1) }], keepsPlans: true },
  ],
  ["a table that nobody makes again", { changes: [{ ...DROPPED, migrates: false }] }],
  ["work that is lost", { changes: [{ what: "loss", steps: ["DELETE FROM effect"] }] }],
];

const name = "changed-tables";
const title = "Tables that change under load";

/**
 * @param {object} options
 * @param {boolean} options.full all changes many times
 * @param {boolean} options.broken a client that keeps its plans, a table that is gone for good, work that is lost
 * @param {(line: string) => void} options.log
 */
function run({ full, broken, log }) {
  if (broken) {
    return noticeAll(
      log,
      CONTROLS.map(([what, options]) => [what, () => usedWhile({ ...SHORT, log, ...options })]),
    );
  }
  return usedWhile({ ...(full ? FULL : SHORT), log, changes: CHANGES });
}

/** Changes the tables of a server while callers use them. */
function usedWhile({ rounds, between, changes, keepsPlans = false, log }) {
  return withServer({}, async (server) => {
    const url = `${server.url}?options=-csearch_path%3Dpublic%2Csecond`;
    await createEffects(url);
    await query(url, "CREATE SCHEMA second; CREATE SCHEMA hidden");
    const load = await startLoad(url, { callers: CALLERS });
    const users = await startUsers(url, load.service, { keepsPlans });
    try {
      for (let round = 0; round < rounds; round += 1) {
        for (const change of changes) {
          await perform(change, { url, load, users, between });
          log(`${change.what}: right`);
        }
      }
    } finally {
      // Else no caller would ever be answered.
      await load.service.migrate();
      const ended = await Promise.allSettled([users.stop(), load.stop()]);
      ended.forEach(({ reason }) => hold(!reason, reason?.message));
    }
    await holdOnce(url, [...load.acknowledged, ...users.acknowledged]);
    log(`of ${users.calls} flows of all kinds ${users.refused} were refused while tables changed`);
    return {
      changes: rounds * changes.length,
      acknowledged: load.acknowledged.length,
      "flows of other kinds": users.calls,
      "longest call": `${Math.round(Math.max(load.longest, users.longest))} ms`,
    };
  });
}

/** Makes one change, and waits until it has met callers of all kinds, and they go on. */
async function perform(change, { url, load, users, between }) {
  const { what, steps, codes = [], isAbsent = false, migrates = false } = change;
  const goOn = () => Promise.all([load.answer(between), users.answer(between / 2)]);
  // Whoever has used the table as it was has more to forget.
  await goOn();
  load.codes.clear();
  users.codes.clear();
  for (const [index, sql] of steps.entries()) {
    await query(url, sql);
    if (isAbsent && index === 0) {
      await eventually(
        () => [load, users].every(({ codes: seen }) => seen.has("42P01")),
        `${what}: no call has noticed it`,
      );
    } else {
      await goOn();
    }
  }
  if (migrates) {
    await load.service.migrate();
  }
  await requireAllKinds(users, what);
  await goOn();
  const others = [...load.codes, ...users.codes].filter((code) => !codes.includes(code));
  hold(others.length === 0, `${what}: calls failed with ${others.join(", ")}`);
}

module.exports = { name, run, title };
