"use strict";

// The load whose memory memory.js watches: calls of every kind, in a process of its own that it starts with
// `node --expose-gc memory-load.js <url> <segments> <calls of a segment> [leak]`. After each segment it
// tells its parent the memory in use, in bytes, with what the garbage collector frees freed.

const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const http = require("node:http");
const { setImmediate: turn, setTimeout: sleep } = require("node:timers/promises");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService, idempotencyMiddleware } = require("../../..");

const [url, segments, callsOfSegment, leak] = process.argv.slice(2);

const CALLERS = 32;
/** Leases that nobody ends are forgotten after ten times their duration: long before the warm-up ends. */
const options = { databaseUrl: url, leaseTimeout: 50 };
const ROUTE = "/complete";

const service = new IdempotencyKeyService({}, options);
const impatient = new IdempotencyKeyService({}, { ...options, leaseTimeout: 1 });
const dataSource = new DataSource({ type: "postgres", url, extra: { max: 4 } });

const params = { id: "cart_1", items: Array.from({ length: 10 }, (_, index) => ({ index })) };
const body = { order: { id: "order_1", items: params.items } };

const begun = () => service.initializeRequest(randomUUID(), "POST", params, ROUTE);
const finish = async (manager) => {
  await manager.query("SELECT $1::text AS text", ["one"]);
  return { response_code: 200, response_body: body };
};
const fail = async (manager) => {
  await manager.query("SELECT 1");
  throw Object.assign(new Error("on purpose"), { code: "on_purpose" });
};
const stages = {
  started: (manager) => manager.transaction(finish).then(() => ({ recovery_point: "paid" })),
  paid: finish,
};

async function refused(call, code) {
  const error = await call.then(
    () => new Error("was not refused"),
    (reason) => reason,
  );
  if (error.code !== code) {
    throw error;
  }
}

/** Each makes so many calls, and resolves to the last one's answer. */
const flows = [
  {
    calls: 4,
    async run() {
      const { idempotency_key: key } = await service.create({ request_params: params });
      await service.retrieve(key);
      await service.lock(key);
      return service.update(key, { recovery_point: "finished", response_body: body });
    },
  },
  { calls: 2, run: async () => service.workStage(await begun(), finish) },
  { calls: 1, run: () => service.runStages({ key: randomUUID(), params }, stages) },
  { calls: 2, run: async () => refused(service.workStage(await begun(), fail), "on_purpose") },
  { calls: 1, run: () => refused(service.runStages({}, { started: fail }), "on_purpose") },
  {
    calls: 3,
    /** An attempt that another one has taken the request over from. */
    async run() {
      const first = await impatient.begin({ key: randomUUID(), params });
      await sleep(5);
      const second = await impatient.begin({ key: first.idempotency_key, params });
      await refused(first.finish({ response_body: body }), "lease_lost");
      return second;
    },
  },
  // As an application that makes a service for each request; nobody closes it.
  { calls: 1, run: () => new IdempotencyKeyService({}, options).create({}) },
  {
    calls: 2,
    run: () =>
      dataSource.transaction(async (manager) => {
        const bound = service.withTransaction(manager);
        const key = await bound.initializeRequest(randomUUID(), "POST", params, ROUTE);
        return bound.workStage(key, finish);
      }),
  },
  { calls: 2, run: () => request("finished") },
  { calls: 2, run: () => request("failed") },
];

const agent = new http.Agent({ keepAlive: true, maxSockets: CALLERS });
const server = http.createServer((req, res) => {
  idempotencyMiddleware()(req, res, () => void handle(req, res));
});
/** Else it may close a connection that was idle for 5 s while a request is on its way. */
server.keepAliveTimeout = 0;

/** Answers a request, with its key, in the request's context: its lease is the context's. */
async function handle(req, res) {
  try {
    const key = await service.initializeRequest(req.headers["idempotency-key"], "POST", {}, ROUTE);
    const { response_body } = await service.workStage(key, req.url === ROUTE ? finish : fail);
    res.end(JSON.stringify(response_body));
  } catch (error) {
    res.statusCode = error.code === "on_purpose" ? 500 : 599;
    res.end(error.message);
  }
}

async function request(end) {
  const path = end === "finished" ? ROUTE : "/fail";
  const headers = { "idempotency-key": randomUUID() };
  const { port } = server.address();
  const asked = http.request({ agent, port, path, method: "POST", headers }).end();
  const [response] = await once(asked, "response");
  const text = (await response.toArray()).join("");
  if (response.statusCode !== (end === "finished" ? 200 : 500)) {
    throw new Error(`the request was answered with ${response.statusCode}: ${text}`);
  }
  return text;
}

/** What a leak would keep; nothing, unless there shall be one. */
const kept = [];
let next = 0;

async function runSegment() {
  let left = Number(callsOfSegment);
  const caller = async () => {
    while (left > 0) {
      const { calls, run } = flows[next % flows.length];
      next += 1;
      left -= calls;
      const answer = await run();
      if (leak) {
        kept.push(answer);
      }
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
}

/** What is freed in one round may let the next one free more: native objects are let go in between. */
async function usedMemory() {
  for (let round = 0; round < 4; round += 1) {
    globalThis.gc();
    await turn();
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  return { rss, heapUsed, external };
}

async function main() {
  await service.migrate();
  await dataSource.initialize();
  await once(server.listen(0), "listening");
  for (let segment = 0; segment < Number(segments); segment += 1) {
    await runSegment();
    await dataSource.query(`TRUNCATE idempotency_key`);
    process.send(await usedMemory());
  }
  server.close();
  agent.destroy();
  await dataSource.destroy();
  await Promise.all([service.close(), impatient.close()]);
  process.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
