"use strict";

// Figures that stand alone, each with its target where it has one.

const { measureBoundary } = require("./boundary");
const { callersOf } = require("./compare");
const { measureConstruction } = require("./construction");
const { CALLERS, measureCreating } = require("./creating");
const { middle } = require("./measure");
const { progress } = require("./report");
const { judged, ratio } = require("./results");
const { CONNECTIONS } = require("./settings");

/** Microseconds. */
const BOUNDARY_TARGET = 30;
const CONSTRUCTION_TARGET = 20;
const CPU_TARGET = 16;
/** Mebibytes. */
const MEMORY_TARGET = 10;
/** Seconds: what the budget has left, but no less and no more. */
const CREATING_LEAST = 5;
const CREATING_MOST = 75;
/** Creates before the process is looked at for the first time. */
const WARM_UP = 30_000;

/** About what a service in the caller's transaction can reach: it needs these two statements. */
function ceilingCheck({ callers, figures: { statements, medusa } }) {
  return {
    name: `bound stage, ${callersOf(callers)}: the two statements alone against medusa, throughput`,
    unit: "times",
    ...judged(ratio(statements, medusa, "throughput"), {}),
  };
}

function constructionChecks() {
  progress("constructing and resolving");
  const { constructed, resolved } = measureConstruction();
  const check = (name, value) => ({
    name,
    unit: "µs",
    ...judged(value, { atMost: CONSTRUCTION_TARGET }),
  });
  return [
    check("new IdempotencyKeyService(container, options), p50", constructed),
    check("resolving it from a request's awilix scope, p50", resolved),
  ];
}

/** @param {import("./parts").Run} run */
async function boundaryChecks({ url, pace }) {
  progress("the boundary");
  const { ours, node } = await measureBoundary(url, pace);
  const p50 = (rounds) => middle(rounds.map((round) => round.p50));
  return [
    {
      name: "an asynchronous native call that does nothing, p50",
      unit: "µs",
      ...judged(p50(ours), { atMost: BOUNDARY_TARGET }),
    },
    {
      name: 'fs.access("/"), to Node\'s own threads and back, p50',
      unit: "µs",
      ...judged(p50(node), {}),
    },
  ];
}

/**
 * The last part, as it leaves a great table, and takes the time that is left.
 *
 * @param {import("./parts").Run} run
 */
async function creatingChecks({ url, pace: { creates, budget }, elapsed }) {
  const seconds = Math.max(CREATING_LEAST, Math.min(CREATING_MOST, budget - elapsed()));
  progress(`a process that only creates: ${creates} keys, for ${Math.round(seconds)} s at most`);
  const done = await measureCreating(url, {
    ...{ connections: CONNECTIONS.ours, creates, seconds },
    warmUp: Math.min(WARM_UP, creates),
  });
  return [
    {
      name: `a process that only creates, ${callersOf(CALLERS)}: CPU a call`,
      unit: "µs",
      ...judged(done.cpu, { atMost: CPU_TARGET }),
    },
    {
      name: "growth of that process",
      detail: `${done.creates} of ${creates} creates, ${Math.round(done.creates / done.seconds)} per s`,
      unit: "MiB",
      ...judged(done.growth, { atMost: MEMORY_TARGET }),
    },
  ];
}

module.exports = { boundaryChecks, ceilingCheck, constructionChecks, creatingChecks };
