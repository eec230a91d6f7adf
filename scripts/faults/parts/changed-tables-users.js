"use strict";

// Callers who make calls of all kinds while the tables change, and note what is refused.

const { setTimeout: sleep } = require("node:timers/promises");
const { Client } = require("pg");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService } = require("../../..");
const { PromiseBroken, eventually, hold, within } = require("../support");

const CALLERS = 4;
const PATIENCE = 20_000;
/** Milliseconds after a refusal. */
const PAUSE = 5;

/** Each uses a key of its own, and resolves to true if it has left an effect. */
const KINDS = {
  async columns({ service }, key) {
    const made = await service.create({ idempotency_key: key, request_params: { key } });
    hold((await service.retrieve(key)).id === made.id, `${key} is another key`);
    await service.lock(key);
    const changed = await service.update(key, { response_code: 202, response_body: [key] });
    hold(changed.response_body[0] === key, `${key} has another key's answer`);
    const found = await service.retrieve({ idempotency_key: [key], response_code: 202 });
    hold(found.id === made.id, `a selector finds another key than ${key}`);
  },
  async stages({ service }, key) {
    const begun = await service.initializeRequest(key, "POST", { key }, "/");
    const paid = await service.workStage(begun, async (manager) => {
      await manager.query("SELECT * FROM effect WHERE name = $1", [key]);
      return { recovery_point: "paid" };
    });
    return finish(service, paid, key);
  },
  async attempt({ service }, key) {
    const attempt = await service.begin({ key, method: "POST", path: "/", body: { key } });
    await attempt.finish({ response_code: 201, response_body: { key } });
    const again = await service.begin({ key, method: "POST", path: "/", body: { key } });
    if (again.began !== "finished") {
      throwNotFound(`${key} is ${again.began}, though it was finished`);
    }
  },
  async http({ service }, key) {
    const request = { key, method: "POST", path: "/", body: { key }, scope: null };
    const first = service.handle(request, async (tx) => {
      await tx.query("INSERT INTO effect (name) VALUES ($1)", [key]);
      return { status: 201, headers: { location: `/${key}` }, body: { key } };
    });
    const { location } = answered(await first);
    hold(location === `/${key}`, `${key} was answered with ${location}`);
    answered(await service.handle(request, () => throwNotFound(`${key} is not replayed`)));
    return true;
  },
  async lists({ service }) {
    await service.listStalled({ limit: 1 });
    await service.prune({ olderThan: "72h" });
  },
  async phase({ service }, key) {
    await service.atomicPhase_(async (manager) => {
      const bound = service.withTransaction(manager);
      await bound.create({ idempotency_key: `${key}-made` });
      const begun = await bound.initializeRequest(key, "POST", { key }, "/");
      return finish(bound, begun, key);
    });
    return true;
  },
  async typeorm({ dataSource, bindable }, key) {
    await dataSource.transaction(async (manager) => {
      const bound = bindable.withTransaction(manager);
      const begun = await bound.initializeRequest(key, "POST", { key }, "/");
      await bound.retrieve(key);
      return finish(bound, begun, key);
    });
    return true;
  },
};

/** The last stage of a request: its work is an effect. */
async function finish(service, begun, key) {
  const done = await service.workStage(begun, async (manager) => {
    await manager.query("INSERT INTO effect (name) VALUES ($1)", [key]);
    return { response_code: 201, response_body: { key } };
  });
  hold(done.response_body.key === key, `${key} was answered with another request's answer`);
  return true;
}

/** As of a key that is not found: right only where the change takes keys away. */
function throwNotFound(message) {
  throw Object.assign(new Error(message), { code: "not_found" });
}

/** The headers of an answer; a refusal is thrown like those of the other methods. */
function answered({ status, headers, body }) {
  if (status === 201) {
    return headers;
  }
  throw Object.assign(new Error(`answered with ${status}`), { code: JSON.parse(body).code });
}

/**
 * @param {string} url
 * @param {IdempotencyKeyService} service
 * @param {{ keepsPlans: boolean }} options for a control: one of the callers keeps a plan for the table as it was
 */
async function startUsers(url, service, { keepsPlans }) {
  const dataSource = new DataSource({ type: "postgres", url, extra: { max: CALLERS } });
  await dataSource.initialize();
  const bindable = new IdempotencyKeyService({ manager: dataSource.manager }, {});
  const client = new Client({ connectionString: url });
  await client.connect();
  const users = { service, dataSource, bindable, acknowledged: [], codes: new Set() };
  Object.assign(users, { calls: 0, refused: 0, longest: 0, kinds: { ...KINDS } });
  if (keepsPlans) {
    users.kinds.plain = async () => {
      await client.query({ name: "kept", text: "SELECT * FROM idempotency_key LIMIT 1" });
    };
    await users.kinds.plain();
  }
  let isOver = false;
  const caller = async (_, number) => {
    const kinds = Object.entries(users.kinds);
    for (let count = number; !isOver; count += 1) {
      const [kind, call] = kinds[count % kinds.length];
      await noted(users, call, `${kind}-${number}-${count}`);
    }
  };
  const running = Promise.all(Array.from({ length: CALLERS }, caller));
  running.catch(() => {});
  users.answer = async (count) => {
    const goal = users.calls + count;
    await eventually(() => users.calls >= goal, `callers are not answered: ${[...users.codes]}`);
  };
  users.stop = async () => {
    isOver = true;
    try {
      await running;
    } finally {
      await Promise.all([bindable.close(), client.end()]);
      await dataSource.destroy();
    }
  };
  return users;
}

/** Makes a call, and notes its answer or why it was refused. */
async function noted(users, call, key) {
  const begun = performance.now();
  try {
    if (await within(PATIENCE, call(users, key), key)) {
      users.acknowledged.push(key);
    }
    users.calls += 1;
  } catch (error) {
    if (error instanceof PromiseBroken) {
      throw error;
    }
    users.refused += 1;
    users.codes.add(error.code ?? error.type ?? error.message);
    await sleep(PAUSE);
  } finally {
    users.longest = Math.max(users.longest, performance.now() - begun);
  }
}

let times = 0;

/** After a change each kind of call succeeds at once, in the process that has used the table as it was. */
async function requireAllKinds(users, what) {
  times += 1;
  await Promise.all(
    Object.entries(users.kinds).map(async ([kind, call]) => {
      const answer = within(PATIENCE, call(users, `${kind}-after-${times}`), kind);
      await answer.catch((error) =>
        hold(false, `after ${what}: ${kind} fails: ${error.code}, ${error.message}`),
      );
    }),
  );
}

module.exports = { requireAllKinds, startUsers };
