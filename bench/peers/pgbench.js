"use strict";

// PostgreSQL's own load generator: what the server itself takes, with next to no client.

const { execFile, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { promisify } = require("node:util");
const { STORED_KEYS, REQUEST } = require("../keys");
const { middle } = require("../measure");

/** A new connection's first transactions are slow: few of them would tell of nothing else. */
const LEAST_TRANSACTIONS = 50;

/** Of a server's hundred connections the other peers have some. */
const MOST_CLIENTS = 64;

const ANY = `\\set n random(1, ${STORED_KEYS})`;

const SCRIPTS = {
  create: `
    INSERT INTO idempotency_key (id, idempotency_key, request_method, request_params, request_path)
    VALUES ('ikey_' || gen_random_uuid(), gen_random_uuid(), '${REQUEST.request_method}',
            '${JSON.stringify(REQUEST.request_params)}', '${REQUEST.request_path}')
    RETURNING *`,
  retrieve: `${ANY}
    SELECT * FROM idempotency_key WHERE idempotency_key = 'finished-' || :n`,
  update: `${ANY}
    UPDATE idempotency_key SET recovery_point = 'authorized-' || :n
    WHERE idempotency_key = 'open-' || :n RETURNING *`,
};

/** Of the pgbench on the PATH; `undefined`: there is none. */
function version() {
  const { status, stdout } = spawnSync("pgbench", ["--version"], { encoding: "utf8" });
  return status === 0 ? /[\d.]+/.exec(stdout)[0] : undefined;
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
  const clients = Math.min(callers, MOST_CLIENTS);
  const threads = Math.min(clients, os.availableParallelism());
  const each = Math.max(LEAST_TRANSACTIONS, Math.round(calls / clients));
  const { stdout } = await promisify(execFile)(
    "pgbench",
    [
      ...["--no-vacuum", "--protocol=prepared", `--file=${operation}.sql`],
      ...[`--client=${clients}`, `--jobs=${threads}`, `--transactions=${each}`],
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

module.exports = { MOST_CLIENTS, version, open };
