"use strict";

// What every example does, whatever its framework. Plain functions, as the examples are also tested as users install
// them (scripts/test-projects.js), without Jest.

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const { eventually, holdOrders } = require("./example-process");
const { ask } = require("./http-client");

const DUPLICATES = 8;
/** A line that begins with `$`, and its continuations; then what it prints. */
const COMMAND = /^\$ ((?:.*\\\n)*.*)\n((?:[^$].*\n)*)/gm;
const IN_USE = "idempotency_key_in_use";

/**
 * The examples, and what a retry gets after the first request's process was killed: in one transaction nothing is left
 * of the first request; what an unchanged handler has done nobody knows, so that these examples refuse the retry.
 */
const STAGED = { status: 201 };
const CAPTURING = { status: 409, code: "idempotency_key_interrupted" };
const EXAMPLES = {
  express: STAGED,
  fastify: STAGED,
  hono: CAPTURING,
  nest: CAPTURING,
  next: STAGED,
  prisma: STAGED,
};

/** Each is given what `startExample` returns, the example's folder, and its entry of `EXAMPLES`. */
const EXPECTATIONS = {
  "prints what its README says": async ({ url }, folder) => {
    const readme = fs.readFileSync(path.join(folder, "README.md"), "utf8");
    const [, block] = /^```console\n([^]*?)^```$/m.exec(readme);
    const commands = block.matchAll(COMMAND);
    for (const [, command, output] of commands) {
      const here = command.replaceAll("http://localhost:3000/orders", url);
      assert.equal(execFileSync("sh", ["-c", here], { encoding: "utf8" }), output);
    }
  },

  "answers a retry with the first answer": async (example) => {
    const request = newRequest();
    const first = await ask(example.url, request).answer;
    assert.equal(first.status, 201);
    assert.equal(first.headers.location, `/orders/${first.body.id}`);
    assert.equal(first.headers["idempotent-replayed"], undefined);
    const replay = await ask(example.url, request).answer;
    assert.equal(replay.status, 201);
    assert.equal(replay.text, first.text);
    assert.equal(replay.headers.location, first.headers.location);
    assert.equal(replay.headers["idempotent-replayed"], "true");
    assert.equal(await ordersOf(example, request), 1);
  },

  "refuses a key that another request has used": async (example) => {
    const request = newRequest();
    await ask(example.url, request).answer;
    const other = { ...newRequest(), key: request.key };
    const refusal = await ask(example.url, other).answer;
    assertProblem(refusal, 422, "idempotency_key_reused");
    assert.equal(await ordersOf(example, other), 0);
  },

  "refuses a request without a key": async (example) => {
    const request = { ...newRequest(), key: undefined };
    const refusal = await ask(example.url, request).answer;
    assertProblem(refusal, 400, "idempotency_key_required");
    assert.equal(await ordersOf(example, request), 0);
  },

  "keeps tenants apart": async (example) => {
    const request = newRequest();
    for (const tenant of ["a", "b"]) {
      const answer = await ask(example.url, { ...request, headers: { "X-Tenant": tenant } }).answer;
      assert.equal(answer.status, 201);
      assert.equal(answer.headers["idempotent-replayed"], undefined);
    }
    assert.equal(await ordersOf(example, request), 2);
  },

  "places one order for concurrent duplicates": async (example) => {
    const request = newRequest();
    const held = await holdOrders(example);
    let answered = 0;
    const answers = Array.from({ length: DUPLICATES }, async () => {
      const answer = await ask(example.url, request).answer;
      answered += 1;
      return answer;
    });
    await eventually(() => answered === DUPLICATES - 1);
    await held.release();
    const all = await Promise.all(answers);
    assert.equal(await ordersOf(example, request), 1);
    const refusals = all.filter(({ status }) => status !== 201);
    assert.equal(refusals.length, DUPLICATES - 1);
    for (const refusal of refusals) {
      assertProblem(refusal, 409, IN_USE);
      assert.match(refusal.headers["retry-after"], /^\d+$/);
    }
  },

  "places one order, though its process is killed in the middle": async (example, _, retried) => {
    const request = newRequest();
    const held = await holdOrders(example);
    const first = ask(example.url, request).answer;
    await held.untilMet();
    const killed = example.pid();
    process.kill(killed, "SIGKILL");
    await assert.rejects(first);
    await held.release();
    await example.again(killed);
    const answer = await eventually(async () => {
      const each = await ask(example.url, request).answer;
      return each.body.code !== IN_USE && each;
    });
    assert.deepEqual(
      { status: answer.status, code: answer.body.code },
      { code: undefined, ...retried },
    );
    assert.equal(await ordersOf(example, request), 1);
  },
};

function newRequest() {
  return { key: randomUUID(), body: { item: randomUUID() } };
}

async function ordersOf({ url }, { body }) {
  const { body: orders } = await ask(url, { method: "GET" }).answer;
  return orders.filter(({ item }) => item === body.item).length;
}

function assertProblem({ status, headers, body }, expected, code) {
  assert.deepEqual({ status, code: body?.code }, { status: expected, code });
  assert.match(headers["content-type"], /^application\/problem\+json/);
}

module.exports = { EXAMPLES, EXPECTATIONS };
