"use strict";

// A server that takes no further connections, and one that takes no writes.

const { Client } = require("pg");
const { startReplicas } = require("../../../__test__/helpers/replicas");
const { IdempotencyKeyService } = require("../../..");
const { callAll, holdAnswered, holdRefused, holdSlots, limitsOf, prepare } = require("../calls");
const { createEffects } = require("../load");
const { eventually, noticeAll, hold, query, withServer, within } = require("../support");

const OPTIONS = {
  maxConnections: 4,
  connectTimeout: 1_000,
  statementTimeout: 2_000,
  acquireTimeout: 2_000,
};
const LIMITS = limitsOf(OPTIONS);
const SETTINGS = { max_connections: 8, superuser_reserved_connections: 0 };
const WRITES = ["create", "update", "lock", "initializeRequest", "runStages", "workStage"];

const name = "full-servers";
const title = "A server without a free connection, and one that takes no writes";

async function run({ full, broken, log }) {
  if (broken) {
    await withServer({ settings: SETTINGS }, (server) =>
      noticeAll(
        log,
        Object.entries({
          "a connection for each call": () => connecting(server),
          "a connection that stays read-only": () => readOnlyForEver(server),
          "a stage that never ends": () => lostSlot(server),
        }),
      ),
    );
  }
  const figures = {};
  for (let round = 0; round < (full ? 10 : 1); round += 1) {
    for (const work of [crowded, readOnly]) {
      await withServer({ settings: SETTINGS }, (server) => work(server, figures));
    }
    await standby(figures);
    log(`round ${round + 1}: ${JSON.stringify(figures)}`);
  }
  return figures;
}

/** Works with a service whose connections are told by their name. */
async function withService(url, work) {
  const databaseUrl = `${url}?application_name=own`;
  const service = new IdempotencyKeyService({}, { databaseUrl, ...OPTIONS });
  try {
    return await work(service);
  } finally {
    await within(LIMITS.runStages, service.close(), "close()");
  }
}

/** Has other clients take all connections that are left. */
async function crowd(url) {
  const others = [];
  for (;;) {
    const client = new Client({ connectionString: url });
    client.on("error", () => {});
    try {
      await client.connect();
    } catch (error) {
      hold(error.code === "53300", `the server cannot be filled: ${error.message}`);
      return { others, leave: () => Promise.all(others.map((other) => other.end())) };
    }
    others.push(client);
  }
}

/** No call finds a free connection: at first there is none at all, then one of the service's own. */
async function crowded({ url }, figures) {
  await createEffects(url);
  await withService(url, (service) => service.migrate());
  await withService(url, async (service) => {
    const all = await crowd(url);
    const refused = await callAll(service, "full", LIMITS);
    await all.leave();
    holdRefused(refused, ["53300"]);
    note(figures, "refused without a connection within", refused);
  });
  await withService(url, async (service) => {
    await prepare(service, "shared");
    const begun = performance.now();
    const most = await crowd(url);
    const rounds = Array.from({ length: 5 }, (_, round) => `shared-${round}`);
    await Promise.all(rounds.map((round) => prepare(service, round)));
    const outcomes = rounds.map((round) => callAll(service, round, LIMITS));
    (await Promise.all(outcomes)).forEach(holdAnswered);
    hold(performance.now() - begun < 10_000, "calls do not share the connections that there are");
    await most.leave();
    await healed(service, url, "free");
  });
}

/** Everything works, on as many connections as there may be. */
async function healed(service, url, prefix) {
  await prepare(service, prefix);
  holdAnswered(await callAll(service, prefix, LIMITS));
  await holdSlots(service, OPTIONS.maxConnections, LIMITS.workStage);
  const [{ own }] = await query(
    url,
    "SELECT count(*)::int AS own FROM pg_stat_activity WHERE application_name = 'own'",
  );
  hold(own <= OPTIONS.maxConnections + 1, `the service has ${own} connections`);
}

/** The server takes no writes for a while, on old and new connections. */
async function readOnly({ url }, figures) {
  await createEffects(url);
  await withService(url, async (service) => {
    await service.migrate();
    await holdSlots(service, OPTIONS.maxConnections, LIMITS.workStage);
    await prepare(service, "read-only");
    await setReadOnly(url, "on");
    await holdUnwritable(service, "read-only", figures);
    await setReadOnly(url, "off");
    await healed(service, url, "writable");
  });
}

async function setReadOnly(url, value) {
  await query(url, `ALTER SYSTEM SET default_transaction_read_only = ${value}`);
  await query(url, "SELECT pg_reload_conf()");
  const sql = "SELECT current_setting('default_transaction_read_only') AS value";
  await eventually(
    async () => (await query(url, sql))[0].value === value,
    "the setting never changed",
  );
}

/** A standby, which is promoted later. */
async function standby(figures) {
  const servers = await startReplicas({ synchronous: true });
  try {
    await createEffects(servers.primary);
    await withService(servers.primary, async (service) => {
      await service.migrate();
      await prepare(service, "standby");
    });
    await withService(servers.standby, async (service) => {
      await eventually(
        () => service.retrieve("standby-workStage").catch(() => false),
        "the standby did not get the keys",
      );
      await holdUnwritable(service, "standby", figures);
      await servers.promote();
      await healed(service, servers.standby, "promoted");
    });
  } finally {
    await servers.stop();
  }
}

/** Reads are answered, and each kind of write is refused, again and again. */
async function holdUnwritable(service, prefix, figures) {
  for (let time = 0; time < 3; time += 1) {
    const { retrieve, ...writes } = await callAll(service, prefix, LIMITS);
    holdAnswered({ retrieve });
    hold(Object.keys(writes).join() === WRITES.join(), "a kind of call is missing");
    holdRefused(writes, ["25006"]);
    note(figures, "writes refused within", writes);
  }
}

/** Notes the longest of some calls. */
function note(figures, figure, outcomes) {
  const longest = Math.max(...Object.values(outcomes).map(({ milliseconds }) => milliseconds));
  figures[figure] =
    `${Math.round(Math.max(longest, Number.parseInt(figures[figure] ?? 0, 10)))} ms`;
}

/** A control: who opens a connection for each call has none where there is no room. */
async function connecting({ url }) {
  const { leave } = await crowd(url);
  const calls = {
    create: (_, key) => query(url, "SELECT 1").then(() => ({ idempotency_key: key })),
  };
  const outcomes = await callAll(undefined, "connecting", LIMITS, calls);
  await leave();
  holdAnswered(outcomes);
}

/** A control: a connection that is kept takes no writes where the server does. */
async function readOnlyForEver({ url }) {
  await createEffects(url);
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query("SET default_transaction_read_only = on");
  const insert = "INSERT INTO effect VALUES ('control')";
  const calls = {
    create: (_, key) => client.query(insert).then(() => ({ idempotency_key: key })),
  };
  const outcomes = await callAll(undefined, "kept", LIMITS, calls);
  await client.end();
  holdAnswered(outcomes);
}

/** A control: a stage that does not end keeps its connection. */
async function lostSlot({ url }) {
  await withService(url, async (service) => {
    await service.migrate();
    let end;
    const ended = new Promise((resolve) => (end = resolve));
    const stage = service.workStage(await service.create({}), () => ended);
    try {
      await holdSlots(service, OPTIONS.maxConnections, 2_000);
    } finally {
      end({ recovery_point: "ended" });
      await stage;
    }
  });
}

module.exports = { name, run, title };
