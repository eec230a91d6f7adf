"use strict";

// Servers that are standbys, or have become ones, among others.

const net = require("node:net");
const { IdempotencyKeyService } = require("..");
const { startProxy } = require("./helpers/proxy");
const { query, startReplicas, until } = require("/tmp/w/zz-replicas.js");

const CONNECT_TIMEOUT = 4_000;
const closing = [];
let servers;
let proxy;

jest.setTimeout(60_000);

beforeAll(async () => {
  servers = await startReplicas({ synchronous: true });
  const service = new IdempotencyKeyService({}, { databaseUrl: servers.primary });
  await service.migrate();
  await service.close();
  await query(servers.primary, "CREATE TABLE effect (name text)");
  await until(servers.standby, "to_regclass('effect') IS NOT NULL");
});

beforeEach(async () => {
  proxy = await startProxy(servers.standby);
});

afterEach(async () => {
  await Promise.all(closing.splice(0).map((user) => user.close()));
  await proxy.close();
});

afterAll(() => servers.stop());

function open(databaseUrl) {
  const service = new IdempotencyKeyService(
    {},
    { databaseUrl, connectTimeout: CONNECT_TIMEOUT, maxConnections: 1 },
  );
  closing.push(service);
  return service;
}

/** A service whose one connection is to the standby, while its address has moved to the primary. */
async function onStandby() {
  const service = open(proxy.url);
  const ask = (manager) => manager.query("SELECT pg_is_in_recovery() AS standby");
  for (let times = 0; times < 2; times += 1) {
    expect(await service.atomicPhase_(ask)).toEqual([{ standby: true }]);
  }
  proxy.moveTo(servers.primary);
  return service;
}

const insert = (manager) => manager.query("INSERT INTO effect VALUES ($1) RETURNING name", ["a"]);

test("a query of a callback's own that a standby refuses is repeated with its transaction", async () => {
  const service = await onStandby();
  const callback = jest.fn(insert);
  expect(await service.atomicPhase_(callback)).toEqual([{ name: "a" }]);
  expect(callback).toHaveBeenCalledTimes(2);
});

test("a serializable transaction that a standby refuses begins on another connection", async () => {
  const service = await onStandby();
  const callback = jest.fn(insert);
  expect(await service.atomicPhase_(callback, "SERIALIZABLE")).toEqual([{ name: "a" }]);
  expect(callback).toHaveBeenCalledTimes(1);
});

test("migrate() that a standby refuses runs on another connection", async () => {
  const service = await onStandby();
  const has = `EXISTS (SELECT FROM information_schema.columns WHERE column_name = 'request_fingerprint')`;
  await query(servers.primary, "ALTER TABLE idempotency_key DROP COLUMN request_fingerprint");
  await until(servers.standby, `NOT ${has}`);
  await service.migrate();
  expect(await query(servers.primary, `SELECT ${has} AS has`)).toEqual([{ has: true }]);
});

test("a standby's refusal reaches the caller where there is nothing else", async () => {
  const service = open(servers.standby);
  await expect(service.atomicPhase_(insert)).rejects.toMatchObject({ code: "25006" });
  await expect(service.atomicPhase_(insert, "SERIALIZABLE")).rejects.toMatchObject({
    code: "0A000",
  });
});

test("a host that never answers leaves time for the others, also with prefer-standby", async () => {
  const silent = net.createServer(() => {});
  await new Promise((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { host } = new URL(servers.primary);
  const both = `postgres://postgres@127.0.0.1:${silent.address().port},${host}/postgres`;
  const service = open(`${both}?target_session_attrs=prefer-standby`);
  expect(await service.create({ idempotency_key: "k" })).toMatchObject({ idempotency_key: "k" });
  await service.close();
  await new Promise((resolve) => silent.close(resolve));
});
