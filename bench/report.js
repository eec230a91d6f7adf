"use strict";

const os = require("node:os");
const { name, version } = require("../package.json");
const { middle } = require("./measure");

/** What the figures were taken on. */
function heading({ server, rounds, seconds, connections, withPgbench }) {
  const cpus = os.cpus();
  const memory = Math.round(os.totalmem() / 2 ** 30);
  const [load] = os.loadavg();
  return [
    `${name} ${version}, Node ${process.versions.node}, PostgreSQL ${server.version}`,
    `${cpus[0].model}, ${cpus.length} cores, ${memory} GiB, load ${load.toFixed(1)} at the start`,
    `Server: ${server.settings}`,
    `Medians of rounds (${rounds} of ${seconds} s for each peer, by turns), ratios within a round`,
    `ours, pg: ${connections} connections each; pg: pool.query(text, values); ` +
      "prepared: the same, but named statements" +
      (withPgbench ? "; pgbench: -M prepared, a connection a caller" : ""),
    ...(withPgbench ? [] : ["There is no pgbench on the PATH: its figures are left out."]),
  ].join("\n");
}

/**
 * @param {{ scenario: { name: string, target?: number }, callers: number,
 *   figures: Record<string, import("./measure").Figures[]> }[]} results a peer's figures by round
 * @param {string[]} peers
 */
function table(results, peers) {
  const inProcess = peers.filter((peer) => peer !== "pgbench");
  const rows = results.map(({ scenario, callers, figures }) => {
    const of = (peer, what) => figureOf(figures[peer], what);
    return [
      scenario.name,
      String(callers),
      ...peers.map((peer) => of(peer, "p50")),
      ...peers.map((peer) => of(peer, "throughput")),
      ...inProcess.map((peer) => of(peer, "cpu")),
      ...peers.slice(1).map((peer) => shownRatio(ratio(figures.ours, figures[peer]))),
      verdict(scenario.target, callers, figures),
    ];
  });
  const groups = [
    ["", ["scenario"]],
    ["", ["callers"]],
    ["p50, µs", peers],
    ["calls per s", peers],
    ["CPU of Node a call, µs", inProcess],
    ["p50, ours against", peers.slice(1)],
    ["", ["target"]],
  ];
  return aligned(groups, rows);
}

/** What follows the table. */
function boundaryLines({ ours, node }, target) {
  const p50 = middle(ours.map((round) => round.p50));
  const shown = (rounds) => `p50 ${figureOf(rounds, "p50")} µs, CPU ${figureOf(rounds, "cpu")} µs`;
  return [
    "The boundary, one caller",
    `  an asynchronous native call that does nothing:  ${shown(ours)};  ` +
      `< ${target} µs ${mark(p50 < target)}`,
    `  fs.access("/"), to Node's own threads and back: ${shown(node)};  ` +
      `ratio ${shownRatio(ratio(ours, node))}`,
  ].join("\n");
}

function verdict(target, callers, figures) {
  if (!target || callers > 1) {
    return "";
  }
  return `≤ ${target} ${mark(ratio(figures.ours, figures.pg) <= target)}`;
}

function mark(isReached) {
  return isReached ? "✓" : "✗";
}

/** Each round's own ratio, as the machine is another in the next, and the median of those. */
function ratio(ours, theirs) {
  return theirs && middle(ours.map(({ p50 }, round) => p50 / theirs[round].p50));
}

function shownRatio(number) {
  return number === undefined ? "" : number.toFixed(2);
}

function figureOf(rounds, what) {
  return rounds ? middle(rounds.map((round) => round[what])).toFixed(0) : "";
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
  return [titles.join("  ").trimEnd(), line(columns), ...rows.map(line)].join("\n");
}

module.exports = { heading, table, boundaryLines };
