"use strict";

const { measure } = require("./measure");

/**
 * Rounds of a scenario, in each of which every peer that knows it has its turn.
 *
 * @param {Record<string, object>} peers
 * @param {import("./scenarios").Scenario} scenario
 * @param {number} callers
 * @param {{ rounds: number, seconds: number, warmUp: number }} pace
 * @returns {Promise<Record<string, import("./measure").Figures[]>>} a peer's figures by round
 */
async function compare(peers, scenario, callers, { rounds, seconds, warmUp }) {
  const names = Object.keys(peers).filter((name) => knows(peers[name], scenario.operation));
  const inProcess = names.filter((name) => !peers[name].run);
  await oneRound(peers, inProcess, scenario, callers, warmUp);
  const figures = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    const measured = await oneRound(peers, names, scenario, callers, seconds);
    names.forEach((name) => figures[name].push(measured[name]));
    // Nobody is always the first.
    names.push(names.shift());
  }
  return figures;
}

function knows(peer, operation) {
  return peer.knows?.(operation) ?? true;
}

async function oneRound(peers, names, scenario, callers, seconds) {
  const figures = {};
  for (const name of names.filter((name) => !peers[name].run)) {
    const peer = peers[name];
    await scenario.prepare?.(seconds);
    figures[name] = await measure({
      input: () => scenario.input(peer),
      call: (input) => scenario.call(peer, input),
      mayReject: peer.mayReject,
      cpuUsage: peer.cpuUsage,
      callers,
      seconds,
    });
  }
  for (const name of names.filter((name) => peers[name].run)) {
    // As many calls as take another peer the time of a round.
    figures[name] = await peers[name].run(scenario.operation, callers, figures.pg.calls);
  }
  return figures;
}

/** Compares in every scenario, with as many callers as it names. */
async function compareAll(peers, scenarios, pace, progress) {
  const results = [];
  for (const scenario of scenarios) {
    for (const callers of scenario.callers) {
      progress(`${scenario.name}, ${callersOf(callers)}`);
      results.push({ scenario, callers, figures: await compare(peers, scenario, callers, pace) });
    }
  }
  return results;
}

function callersOf(number) {
  return number === 1 ? "1 caller" : `${number} callers`;
}

module.exports = { callersOf, compare, compareAll };
