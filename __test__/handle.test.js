"use strict";

const { randomUUID } = require("node:crypto");
const { useDatabase, rejection } = require("./helpers/database");

const database = useDatabase();
let service;

beforeAll(async () => {
  service = database.service();
  await database.pool.query("CREATE TABLE effect (id serial, name text)");
});

test("smoke", async () => {
  const request = { key: randomUUID(), method: "POST", path: "/orders?x=1", body: { a: 1 }, scope: "t" };
  const work = async (tx) => {
    await tx.query("INSERT INTO effect (name) VALUES ('x')");
    return { status: 201, body: { z: 1, a: "\u0000é" } };
  };
  const first = await service.handle(request, work);
  const second = await service.handle(request, work);
  console.log(first, second);
  console.log(await service.handle({ ...request, path: "/orders?x=2" }, work));
  console.log(await service.handle({ ...request, scope: "u" }, work));
  console.log(await service.handle({ ...request, key: "a b" }, work));
  console.log(await rejection(service.handle({ ...request, key: "ab" }, () => ({ code: 5 }))));
});
