"use strict";

const os = require("node:os");
const { version: ofNodeIdempotency } = require("@node-idempotency/core/package.json");
const { version: ofExpress } = require("express/package.json");
const { version: ofExpressIdempotency } = require("express-idempotency/package.json");
const { version: ofPg } = require("pg/package.json");
const medusa = require("./peers/medusa-v1");
const pgbench = require("./peers/pgbench");

/** What the figures are taken on. */
function describeMachine() {
  const [{ model }, ...more] = os.cpus();
  return {
    processor: model,
    cores: more.length + 1,
    memory: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()}`,
    load: Number(os.loadavg()[0].toFixed(1)),
  };
}

/** @param {string} postgresql */
function describeVersions(postgresql) {
  return {
    package: require("../package.json").version,
    node: process.versions.node,
    postgresql,
    ...medusa.versions(),
    pg: ofPg,
    pgbench: pgbench.version(),
    express: ofExpress,
    nodeIdempotency: ofNodeIdempotency,
    expressIdempotency: ofExpressIdempotency,
  };
}

module.exports = { describeMachine, describeVersions };
