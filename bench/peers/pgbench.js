"use strict";

// PostgreSQL's own load generator: what the server itself takes, with next to no client.

const { execFile, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { promisify } = require("node:util");
const { KNOWN_KEYS, REQUEST, RECOVERY_POINT } = require("../keys");
const { middle } = require("../measure");

/** A new connection's first transactions are slow: few of them would tell of nothing else. */
const LEAST_TRANSACTIONS = 50;

const KNOWN = `\\set n random(1, ${KNOWN_KEYS})`;
const KNOWN_KEY = "idempotency_key = 'known-' || :n";

const SCRIPTS = {
  create: `
    INSERT INTO idempotency_key (id, idempotency_key, request_method, request_params, request_path)
    VALUES ('ikey_' || gen_random_uuid(), gen_random_uuid(), '${REQUEST.request_method}',
            '${JSON.stringify(REQUEST.request_params)}', '${REQUEST.request_path}')
    RETURNING *`,
  retrieve: `${KNOWN}
    SELECT * FROM idempotency_key WHERE ${KNOWN_KEY}`,
  update: `${KNOWN}
    UPDATE idempotency_key SET recovery_point = '${RECOVERY_POINT}'
    WHERE ${KNOWN_KEY} RETURNING *`,
};

/** Whether there is a pgbench on the PATH. */
function isThere() {
  return spawnSync("pgbench", ["--version"]).status === 0;
}

/** A peer that does not make calls one by one, but runs a number of them and tells of it. */
async function open(url) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "pgbench-"));
  for (const [operation, script] of Object.entries(SCRIPTS)) {
    fs.writeFileSync(path.join(folder, `${operation}.sql`), `${script};\n`);
  }
  return {
    knows: (operation) => Object.hasOwn(SCRIPTS, operation),
    run: (operation, callers, calls) => run(url, folder, operation, callers, calls),
    close: async () => fs.rmSync(folder, { recursive: true, force: true }),
  };
}

async function run(url, folder, operation, callers, calls) {
  const threads = Math.min(callers, os.availableParallelism());
  const each = Math.max(LEAST_TRANSACTIONS, Math.round(calls / callers));
  const { stdout } = await promisify(execFile)(
    "pgbench",
    [
      ...["--no-vacuum", "--protocol=prepared", `--file=${operation}.sql`],
      ...[`--client=${callers}`, `--jobs=${threads}`, `--transactions=${each}`],
      ...["--log", `--log-prefix=${operation}`, url],
    ],
    { cwd: folder },
  );
  const [, throughput] = /^tps = ([\d.]+) \(without/m.exec(stdout) ?? [];
  if (!throughput) {
    throw new Error(`pgbench told of no throughput: ${stdout}`);
  }
  return { p50: middle(takeLatencies(folder, operation)), throughput: Number(throughput) };
}

/** Microseconds of each transaction, from the logs of all threads. The average hides the middle. */
function takeLatencies(folder, operation) {
  const names = fs.readdirSync(folder).filter((name) => name.startsWith(`${operation}.`));
  const logs = names.filter((name) => name !== `${operation}.sql`);
  return logs.flatMap((name) => {
    const log = path.join(folder, name);
    const lines = fs.readFileSync(log, "utf8").trim().split("\n");
    fs.rmSync(log);
    return lines.map((line) => Number(line.split(" ")[2]));
  });
}

module.exports = { name: "pgbench", isThere, open };
