"use strict";

// What is printed.

const { name, version } = require("../package.json");
const { callersOf } = require("./compare");

/** What the figures were taken on. */
function heading({ machine, versions, settings }) {
  const { node, postgresql, medusa, typeorm, pg, pgbench } = versions;
  const { express, nodeIdempotency, expressIdempotency } = versions;
  const { connections, rounds, seconds } = settings;
  const shown = (all) =>
    Object.entries(all)
      .map((setting) => setting.join(" "))
      .join(", ");
  return [
    `${name} ${version}, Node ${node}, PostgreSQL ${postgresql}`,
    `Medusa ${medusa} on TypeORM ${typeorm}, pg ${pg}, ${pgbench ? `pgbench ${pgbench}` : "no pgbench on the PATH"}`,
    `Express ${express}; nodeIdempotency: @node-idempotency/core ${nodeIdempotency}; ` +
      `expressIdempotency: express-idempotency ${expressIdempotency}`,
    `${machine.processor}, ${machine.cores} cores, ${machine.memory} GiB, load ${machine.load} at the start`,
    `Server: ${shown(settings.server)}`,
    `Slow disk: a second server, whose log takes ${settings.slowDisk.delay} µs longer to flush (fdatasync is delayed)`,
    `${versions.pooler ?? "PgBouncer, where it is installed"}: pool_mode ${settings.pooler.pool_mode}, ` +
      `default_pool_size ${settings.pooler.default_pool_size}; direct: the same service without it`,
    "Table: with the columns request_fingerprint and response_headers, which only requests over HTTP fill",
    `Medians of rounds (${rounds} of ${seconds} s for each peer, by turns), ratios within a round`,
    `Connections: ours ${connections.ours}; medusa ${connections.medusa}; pg and prepared ` +
      `${connections.pg}; whole requests ${connections.requests} each; bound stages ${connections.boundStages}; ` +
      `pgbench one for each caller, at most ${connections.pgbench}; an app on Express ${connections.express}`,
    "pg: pool.query(text, values); prepared: the same, but named statements; pgbench: -M prepared",
  ].join("\n");
}

/** @param {import("./results").Result[]} results the peers are those of the first */
function figuresTable(results) {
  const peers = Object.keys(results[0].peers);
  const inProcess = peers.filter((peer) => peer !== "pgbench");
  const rows = results.map(({ scenario, callers, peers: figures }) => {
    const all = (names, figure) => names.map((peer) => shownFigure(figures[peer]?.[figure]));
    return [
      ...[scenario, String(callers)],
      ...all(peers, "p50"),
      ...all(peers, "throughput"),
      ...all(inProcess, "cpu"),
    ];
  });
  const groups = [
    ["", ["scenario"]],
    ["", ["callers"]],
    ["p50, µs", peers],
    ["calls per s", peers],
    ["CPU of Node a call, µs", inProcess],
  ];
  return aligned(groups, rows);
}

/** Ours against each of the peers, and what it should be. */
function ratiosTable(results) {
  const others = Object.keys(results[0].ratios);
  const rows = results.map(({ scenario, callers, compared, ratios }) => [
    ...[scenario, String(callers), compared],
    ...others.map((peer) => (ratios[peer] ? shownVerdict(ratios[peer]) : "")),
  ]);
  const groups = [
    ["", ["ours against"]],
    ["", ["callers"]],
    ["", ["ratio of"]],
    ["", others],
  ];
  return aligned(groups, rows);
}

/** What rejected calls, which are in no other figure. */
function rejectionLines(results) {
  return results.flatMap(({ scenario, callers, peers }) =>
    Object.entries(peers)
      .filter(([, { rejected }]) => rejected > 0)
      .map(
        ([peer, { rejected }]) =>
          `${peer} rejected ${(100 * rejected).toFixed(0)} % of the calls: ` +
          `${scenario}, ${callersOf(callers)}`,
      ),
  );
}

/** @param {{ name: string, unit: string, value: number, detail?: string }[]} checks */
function checkLines(checks) {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks.map(({ name, unit, detail, ...verdict }) =>
    [name.padEnd(width), shownVerdict(verdict, unit), detail && `(${detail})`]
      .filter(Boolean)
      .join("  "),
  );
}

function shownVerdict({ value, atMost, atLeast, isReached }, unit = "") {
  const shown = `${value < 100 ? Number(value.toPrecision(3)) : value.toFixed(0)}${unit && ` ${unit}`}`;
  if (isReached === undefined) {
    return shown;
  }
  const target = atMost === undefined ? `≥ ${atLeast}` : `≤ ${atMost}`;
  return `${shown}  ${target} ${isReached ? "✓" : "✗"}`;
}

function shownFigure(number) {
  return number === undefined ? "" : number.toFixed(0);
}

/** Columns under the titles of their groups: the first to the left, the others to the right. */
function aligned(groups, rows) {
  const columns = groups.flatMap(([, names]) => names);
  const widths = columns.map((name, index) =>
    Math.max(name.length, ...rows.map((row) => row[index].length)),
  );
  const line = (cells) =>
    cells
      .map((cell, index) => (index === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[index])))
      .join("  ")
      .trimEnd();
  let column = 0;
  const titles = groups.map(([title, names]) => {
    const under = widths.slice(column, (column += names.length));
    return title.padStart(under.reduce((sum, width) => sum + width + 2, -2));
  });
  const head = titles.join("  ").trimEnd();
  return [...(head ? [head] : []), line(columns), ...rows.map(line)].join("\n");
}

/** Not on stdout, where the figures go. */
function progress(what) {
  console.error(`> ${what}`);
}

module.exports = { checkLines, figuresTable, heading, progress, ratiosTable, rejectionLines };
