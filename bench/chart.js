"use strict";

// Throughputs as a picture, to be read on a light page and on a dark one.

const { callersOf } = require("./compare");

const COLUMNS = 3;
const PANEL = { width: 300, title: 40, gap: 22 };
const BAR = { left: 96, width: 130, height: 13, step: 19 };
const MARGIN = 16;
const HEADER = 62;
const PEERS = [
  "ours",
  ...["byHand", "oneTransaction", "bare"],
  ...["medusa", "pg", "prepared", "pgbench", "statements"],
];
/** Those whose names are no words. */
const LABELS = { byHand: "by hand", oneTransaction: "one transaction" };

/** Whom ours is set against in words. */
const RIVALS = {
  ...{ byHand: "by hand", medusa: "Medusa", pg: "pg", pgbench: "pgbench" },
  statements: "the statements",
};

const STYLE = `
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .head { font-size: 16px; font-weight: 600; }
  .title { font-size: 13px; font-weight: 600; }
  .small { font-size: 11px; fill: #59636e; }
  .ratio { font-weight: 600; fill: #0a5fd6; }
  .peer { text-anchor: end; }
  .ours { fill: #2478e5; }
  .other { fill: #a9b3be; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .ratio { fill: #79b4ff; }
    .ours { fill: #4a95f5; }
    .other { fill: #57606a; }
  }
`;

/**
 * @param {import("./results").Result[]} results
 * @param {string[]} lines what the figures were taken on
 * @param {string} unit of which there are so many in a second
 * @returns {string} an SVG
 */
function chart(results, lines, unit) {
  const shown = results.filter(({ compared }) => compared === "throughput");
  const rows = inRows(shown);
  const width = 2 * MARGIN + COLUMNS * PANEL.width + (COLUMNS - 1) * PANEL.gap;
  let top = HEADER;
  const panels = rows.map((row) => {
    const drawn = row.map((result, column) =>
      panel(result, MARGIN + column * (PANEL.width + PANEL.gap), top),
    );
    top += Math.max(...row.map(heightOf)) + PANEL.gap;
    return drawn.join("");
  });
  const footer = lines.map((line, index) => text(MARGIN, top + 16 * index, "small", line));
  const height = top + 16 * lines.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" ` +
      `width="${width}" height="${height}">`,
    `<title>${unit} per second, this package and others</title>`,
    `<style>${STYLE}</style>`,
    text(MARGIN, 26, "head", `${unit} per second`),
    text(MARGIN, 44, "small", "More is better. Every panel has its own scale; ratios are of ours."),
    ...panels,
    ...footer,
    "</svg>\n",
  ].join("\n");
}

function inRows(results) {
  const rows = [];
  for (let first = 0; first < results.length; first += COLUMNS) {
    rows.push(results.slice(first, first + COLUMNS));
  }
  return rows;
}

function peersOf({ peers }) {
  return PEERS.filter((peer) => peers[peer]);
}

function heightOf(result) {
  return PANEL.title + BAR.step * peersOf(result).length;
}

function panel(result, left, top) {
  const { scenario, callers, peers } = result;
  const names = peersOf(result);
  const most = Math.max(...names.map((peer) => peers[peer].throughput));
  const bars = names.map((peer, index) =>
    bar(peer, peers[peer].throughput, most, left, top + PANEL.title + BAR.step * index),
  );
  return [
    text(left, top + 14, "title", `${scenario}, ${callersOf(callers)}`),
    text(left, top + 30, "small ratio", ratiosOf(result)),
    ...bars,
  ].join("\n");
}

function ratiosOf({ ratios }) {
  return Object.entries(RIVALS)
    .filter(([peer]) => ratios[peer])
    .map(([peer, label]) => `${ratios[peer].value.toFixed(1)} × ${label}`)
    .join(", ");
}

function bar(peer, value, most, left, top) {
  const length = Math.max(1, (BAR.width * value) / most).toFixed(1);
  const from = left + BAR.left;
  const base = top + BAR.height - 3;
  return [
    text(from - 6, base, "peer", LABELS[peer] ?? peer),
    `<rect x="${from}" y="${top}" width="${length}" height="${BAR.height}" rx="2" ` +
      `class="${peer === "ours" ? "ours" : "other"}"/>`,
    text(from + Number(length) + 6, base, "small", Math.round(value).toLocaleString("en-US")),
  ].join("\n");
}

function text(x, y, kind, content) {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x}" y="${y}" class="${kind}">${escaped}</text>`;
}

module.exports = { chart };
