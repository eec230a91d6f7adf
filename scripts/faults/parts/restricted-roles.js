"use strict";

// Roles that may not do everything with the table, or see only some of its rows: each call is answered, or refused with
// 42501, and no error has anything of a request.

const { Client } = require("pg");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService } = require("../../..");
const { eachOf, hold, noticeAll, query, rejection, withServer, within } = require("../support");

const FORBIDDEN = "42501";
const PATIENCE = 10_000;
/** How many callers make each call at once, so that they share statements. */
const SHORT = { callers: 3, rounds: 1 };
const FULL = { callers: 16, rounds: 20 };
/** What a client has sent, but for its key. */
const SECRET = "4111-1111-1111-1111";
/** What is answered to whoever begins the request of a key that a policy hides. */
const CODES_OF_HIDDEN = ["23505", FORBIDDEN, "row_swallowed"];
/** A lease that can be released, and that nobody has to wait for. */
const RUN_OUT = new Date("2026-01-01T00:00:00Z");

const request = (key) => ({ key, method: "POST", path: `/${SECRET}`, body: { card: SECRET } });
const answer = () => ({ response_code: 201, response_body: { card: SECRET } });
const columns = (key) => ({
  idempotency_key: key,
  request_method: "POST",
  request_path: `/${SECRET}`,
  request_params: { card: SECRET },
});
const initialize = (service, key) =>
  service.initializeRequest(key, "POST", { card: SECRET }, `/${SECRET}`);

/** Each call uses a key of its own; those of `KNOWN` one that is there. */
const CALLS = {
  create: ({ service }, key) => service.create(columns(key)),
  initialize: ({ service }, key) => initialize(service, key),
  begin: ({ service }, key) => service.begin(request(key)),
  run: ({ service }, key) => service.runStages(request(key), { started: answer }),
  phase: ({ service }, key) =>
    service.atomicPhase_((manager) => service.withTransaction(manager).create(columns(key))),
  typeorm: ({ dataSource, bindable }, key) =>
    dataSource.transaction((manager) => initialize(bindable.withTransaction(manager), key)),
  retrieve: ({ service }, key) => service.retrieve(key),
  select: ({ service }, key) => service.retrieve({ idempotency_key: key, ...pathOf() }),
  lock: ({ service }, key) => service.lock(key),
  update: ({ service }, key) => service.update(key, answer()),
  stage: ({ service }, key) => service.workStage(key, answer),
  release: ({ service }, key) => service.release(key),
  stalled: ({ service }) => service.listStalled(),
  prune: ({ service }) => service.prune({ olderThan: "72h" }),
};
const pathOf = () => ({ request_path: `/${SECRET}` });
const KNOWN = ["retrieve", "select", "lock", "update", "stage", "release"];
const INSERTING = ["create", "initialize", "begin", "run", "phase", "typeorm"];
const ALL = Object.keys(CALLS);
const GRANTED = "GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_key TO PUBLIC";

/**
 * @typedef {object} Restriction
 * @property {string} what
 * @property {string} sql what the table's owner does
 * @property {string[]} forbidden calls that are refused with 42501
 * @property {string[]} [unseen] calls about a key that the role does not see, so that there is none
 */

/** @type {Restriction[]} */
const RESTRICTIONS = [
  { what: "all rights", sql: GRANTED, forbidden: [] },
  {
    what: "no right to read",
    sql: "GRANT INSERT, UPDATE, DELETE ON idempotency_key TO PUBLIC",
    forbidden: ALL,
  },
  {
    what: "no right to insert",
    sql: "GRANT SELECT, UPDATE, DELETE ON idempotency_key TO PUBLIC",
    forbidden: INSERTING,
  },
  {
    what: "no right to update",
    sql: "GRANT SELECT, INSERT, DELETE ON idempotency_key TO PUBLIC",
    // A request begins with an insert; who prunes locks the rows first.
    forbidden: ["run", "lock", "update", "stage", "release", "prune"],
  },
  {
    what: "no right to delete",
    sql: "GRANT SELECT, INSERT, UPDATE ON idempotency_key TO PUBLIC",
    forbidden: ["prune"],
  },
  {
    what: "its own rows only",
    sql: `${GRANTED}; ALTER TABLE idempotency_key ADD COLUMN owner name DEFAULT current_user;
      ALTER TABLE idempotency_key ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON idempotency_key USING (owner = current_user)`,
    forbidden: [],
    unseen: KNOWN,
  },
  {
    what: "rows that it does not see once they are there",
    sql: `${GRANTED}; ALTER TABLE idempotency_key ENABLE ROW LEVEL SECURITY;
      CREATE POLICY writes ON idempotency_key FOR INSERT WITH CHECK (true)`,
    forbidden: INSERTING,
    unseen: KNOWN,
  },
  {
    what: "no policy at all",
    sql: `${GRANTED}; ALTER TABLE idempotency_key ENABLE ROW LEVEL SECURITY`,
    forbidden: INSERTING,
    unseen: KNOWN,
  },
];

const [ALLOWED] = RESTRICTIONS;

/** @type {Restriction[]} */
const CONTROLS = [
  { ...ALLOWED, what: "a role that may do more", forbidden: ["prune"] },
  { ...ALLOWED, what: "a role that sees all rows", unseen: KNOWN },
  { ...ALLOWED, what: "an error with a client's values", leaks: true },
];

const name = "restricted-roles";
const title = "Roles that may not do everything";

/**
 * @param {object} options
 * @param {boolean} options.full more callers, and all restrictions several times
 * @param {boolean} options.broken roles that may do more, and an error that tells too much
 * @param {(line: string) => void} options.log
 */
function run({ full, broken, log }) {
  return withServer({}, async ({ url }) => {
    if (broken) {
      await noticeAll(
        log,
        CONTROLS.map((each) => [each.what, () => restrict(url, each, SHORT.callers)]),
      );
    }
    const { callers, rounds } = full ? FULL : SHORT;
    const figures = { restrictions: RESTRICTIONS.length, "calls answered": 0, "calls refused": 0 };
    for (let round = 0; round < rounds; round += 1) {
      await eachOf(RESTRICTIONS, 2, async (restriction) => {
        const { answered, refused } = await restrict(url, restriction, callers);
        log(`${restriction.what}: ${answered} calls answered, ${refused} refused`);
        figures["calls answered"] += answered;
        figures["calls refused"] += refused;
      });
    }
    return figures;
  });
}

let roles = 0;

/** Makes a table and a role that may not do everything with it, and all calls by that role. */
async function restrict(server, restriction, callers) {
  roles += 1;
  const role = `restricted_${roles}`;
  const owner = `${server}?options=-csearch_path%3D${role}`;
  await prepare(owner, role, callers);
  await query(owner, restriction.sql);
  const databaseUrl = Object.assign(new URL(owner), { username: role }).href;
  const dataSource = new DataSource({ type: "postgres", url: databaseUrl, extra: { max: 3 } });
  await dataSource.initialize();
  const service = new IdempotencyKeyService({}, { databaseUrl, waitTimeout: PATIENCE });
  const bindable = new IdempotencyKeyService({ manager: dataSource.manager }, {});
  try {
    // There is nothing for it to do, so nothing that it may not do.
    await within(PATIENCE, service.migrate(), "migrate");
    const counts = await requireEach({ service, dataSource, bindable }, restriction, callers);
    await requireNoOthersKey(owner, service, restriction);
    await requireUntold(restriction, databaseUrl);
    await requireMigration(owner, service);
    return counts;
  } finally {
    await Promise.all([service.close(), bindable.close()]);
    await dataSource.destroy();
  }
}

const keyOf = (call, number) => `${call}-${number}`;

async function prepare(owner, role, callers) {
  await query(
    owner,
    `CREATE ROLE ${role} LOGIN; CREATE SCHEMA ${role}; GRANT USAGE ON SCHEMA ${role} TO ${role}`,
  );
  const keys = new IdempotencyKeyService({}, { databaseUrl: owner });
  await keys.migrate();
  for (const call of KNOWN) {
    for (let number = 0; number < callers; number += 1) {
      await keys.create({ ...columns(keyOf(call, number)), locked_at: RUN_OUT });
    }
  }
  await keys.create({ ...columns("others"), response_body: { card: SECRET } });
  await keys.close();
}

/** Each call is answered, or refused as the restriction says. */
async function requireEach(users, { what, forbidden, unseen = [] }, callers) {
  const counts = { answered: 0, refused: 0 };
  await eachOf(ALL, 3, async (call) => {
    const made = Array.from({ length: callers }, async (_, number) => {
      const made = CALLS[call](users, keyOf(call, number));
      const place = `${what}: ${call}`;
      const isForbidden = forbidden.includes(call);
      if (!isForbidden && !unseen.includes(call)) {
        await within(PATIENCE, made, place).catch((error) =>
          hold(false, `${place} fails with ${error.code}, ${error.message}`),
        );
        counts.answered += 1;
        return;
      }
      const error = await within(PATIENCE, rejection(made), place);
      const seen = isForbidden ? error.code : error.type;
      hold(seen === (isForbidden ? FORBIDDEN : "not_found"), `${place}: ${seen} ${error.message}`);
      requireNothingTold(error, place);
      counts.refused += 1;
    });
    await Promise.all(made);
  });
  return counts;
}

/** Who begins the request of a key that it does not see gets neither the row nor a new one. */
async function requireNoOthersKey(owner, service, { what, unseen }) {
  if (!unseen) {
    return;
  }
  for (const call of INSERTING.filter((each) => each !== "typeorm")) {
    const made = CALLS[call]({ service }, "others");
    const error = await within(PATIENCE, rejection(made), `${what}: ${call} of others' key`);
    const place = `${what}: ${call} of others' key`;
    hold(CODES_OF_HIDDEN.includes(error.code), `${place}: ${error.code}, ${error.message}`);
    hold(
      error.code !== "row_swallowed" || /policy/.test(error.message),
      `${place}: the message does not name the cause: ${error.message}`,
    );
    requireNothingTold(error, place);
  }
  const sql = "SELECT response_body FROM idempotency_key WHERE idempotency_key = 'others'";
  const rows = await query(owner, sql);
  hold(
    rows.length === 1 && rows[0].response_body.card === SECRET,
    `${what}: others' key has been changed`,
  );
}

/** Where something is missing, migrate() is refused as the server says. */
async function requireMigration(owner, service) {
  await query(owner, "ALTER TABLE idempotency_key DROP COLUMN request_fingerprint");
  const error = await within(PATIENCE, rejection(service.migrate()), "migrate");
  hold(error.code === FORBIDDEN, `migrate() fails with ${error.code}, ${error.message}`);
}

/** For a control: the error of a client that tells a row. */
async function requireUntold({ what, leaks }, connectionString) {
  if (leaks) {
    const client = new Client({ connectionString });
    await client.connect();
    const sql = "INSERT INTO idempotency_key (idempotency_key, request_path) VALUES ('x', $1)";
    const error = await rejection(client.query(sql, [SECRET]));
    await client.end();
    requireNothingTold(error, what);
  }
}

/** Neither the message nor anything else of an error has what a client has sent. */
function requireNothingTold(error, place) {
  const told = `${error.message} ${error.stack} ${JSON.stringify(error)}`;
  hold(!told.includes(SECRET), `${place}: the error has what a client has sent: ${error.message}`);
}

module.exports = { name, run, title };
