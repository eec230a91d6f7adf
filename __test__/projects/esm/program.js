// A server whose only route runs once for each key. It ends by itself, without close().

import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { json } from "node:stream/consumers";
import Service, * as exported from "medusa-idempotency-key";
import { MedusaIdempotencyKeyService } from "medusa-idempotency-key/medusa";

const CALLERS = 20;
const CREATES = 200;

const { createIdempotency, idempotencyMiddleware } = exported;
const service = createIdempotency({ databaseUrl: process.env.DATABASE_URL });
const storage = new AsyncLocalStorage();
const key = randomUUID();
const middleware = idempotencyMiddleware();
const runs = [];

const server = createServer((req, res) => middleware(req, res, () => answer(req, res)));

async function answer(req, res) {
  const body = await json(req);
  const request = { key: req.headers["idempotency-key"], method: req.method, path: req.url, body };
  const stages = {
    started: async (manager) => {
      runs.push(storage.getStore());
      const [{ order }] = await manager.query("SELECT $1::int + 1 AS order", [body.cart]);
      return { response_code: 201, response_body: { order } };
    },
  };
  try {
    const done = await storage.run(req.url, () => service.runStages(request, stages));
    res.writeHead(done.response_code).end(JSON.stringify(done.response_body));
  } catch (error) {
    res.writeHead(error.code === "idempotency_key_in_use" ? 409 : 500).end(String(error));
  }
}

async function order() {
  const response = await fetch(`http://127.0.0.1:${server.address().port}/orders`, {
    method: "POST",
    // Not kept: a connection that is idle would keep the process, too.
    headers: { "idempotency-key": key, connection: "close" },
    body: JSON.stringify({ cart: 41 }),
  });
  return [response.status, await response.text()];
}

function hasTheSameExports() {
  const required = createRequire(import.meta.url)("medusa-idempotency-key");
  const { __esModule, ...names } = required;
  assert.ok(__esModule);
  for (const name of Object.keys(names)) {
    assert.ok(exported[name], name);
    assert.equal(exported[name], required[name], name);
  }
  assert.equal(Service, exported.IdempotencyKeyService);
  assert.equal(MedusaIdempotencyKeyService, Service);
}

hasTheSameExports();
await service.migrate();
server.listen(0, "127.0.0.1");
await once(server, "listening");

const rush = await Promise.all(Array.from({ length: CALLERS }, order));
const answered = rush.filter(([status]) => status !== 409);
for (const each of [...answered, await order()]) {
  assert.deepEqual(each, [201, '{"order":42}']);
}
assert.deepEqual(runs, ["/orders"]);

const keys = await Promise.all(Array.from({ length: CREATES }, () => service.create({})));
assert.equal(new Set(keys.map((created) => created.idempotency_key)).size, CREATES);

server.close();
console.log("works");
