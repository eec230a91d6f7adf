"use strict";

// A primary that is lost under load, and its standby, which takes its place.

const { startProxy } = require("../../../__test__/helpers/proxy");
const { startReplicas } = require("../../../__test__/helpers/replicas");
const { createEffects, holdOnce, startLoad } = require("../load");
const { hold } = require("../support");

const CALLERS = 16;
const LOAD = { callers: CALLERS, service: { connectTimeout: 2_000 } };
/** Milliseconds from the promotion until calls have to succeed again. */
const AGAIN = 5_000;

const name = "failover";
const title = "A primary that is lost, and its standby, which is promoted";

async function run({ full, broken, log }) {
  if (broken) {
    await withReplicas({ synchronous: false }, asynchronous);
    return {};
  }
  const figures = { acknowledged: 0, "answered again after, at most": 0 };
  for (let round = 0; round < (full ? 20 : 1); round += 1) {
    for (const [kind, fail] of [
      ["two hosts", killed],
      ["one address", moved],
    ]) {
      const { acknowledged, again } = await withReplicas({ synchronous: true }, fail);
      log(`${kind}: ${acknowledged} acknowledged, answered again after ${Math.round(again)} ms`);
      figures.acknowledged += acknowledged;
      figures["answered again after, at most"] = Math.max(
        figures["answered again after, at most"],
        Math.round(again),
      );
    }
  }
  figures["answered again after, at most"] += " ms";
  return figures;
}

async function withReplicas(options, work) {
  const servers = await startReplicas(options);
  try {
    await createEffects(servers.primary);
    return await work(servers);
  } finally {
    await servers.stop();
  }
}

/** Both hosts are in the URL; the primary is killed. */
async function killed(servers) {
  const { host } = new URL(servers.primary);
  const both = `postgres://postgres@${host},${new URL(servers.standby).host}/postgres`;
  const load = await startLoad(`${both}?target_session_attrs=read-write`, LOAD);
  await load.answer(200);
  servers.kill();
  await servers.promote();
  const result = await outcome(load, servers.standby);
  hold(load.failures > 0, "no call noticed that the primary was killed");
  return result;
}

/** One address, which is the new primary's now; what was connected to the old one, read-only now, still is. */
async function moved(servers) {
  const proxy = await startProxy(servers.primary);
  try {
    const load = await startLoad(proxy.url, LOAD);
    await load.answer(200);
    await servers.makeReadOnly();
    await servers.promote();
    proxy.moveTo(servers.standby);
    return await outcome(load, servers.standby);
  } finally {
    await proxy.close();
  }
}

/** The control: a standby that commits do not wait for has not got all of them. */
async function asynchronous(servers) {
  const load = await startLoad(servers.primary, LOAD);
  await load.answer(100);
  await servers.disconnect();
  await load.answer(100);
  await load.stop();
  servers.kill();
  await servers.promote();
  await holdOnce(servers.standby, load.acknowledged);
}

/** After the promotion each caller has to be answered soon, and everything has to be there once. */
async function outcome(load, url) {
  const again = await load.answer(2 * CALLERS);
  await load.stop();
  hold(again < AGAIN, `answered again only after ${again} ms`);
  await holdOnce(url, load.acknowledged);
  return { acknowledged: load.acknowledged.length, again };
}

module.exports = { name, run, title };
