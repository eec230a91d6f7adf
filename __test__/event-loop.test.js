"use strict";

// Who waits for the server: the event loop of the main thread, or the engine's own thread.

const { fork } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const { useDatabase } = require("./helpers/database");

const PROGRAM = path.join(__dirname, "fixtures/event-loop.js");
const ENGINE_THREAD = { IDEMPOTENCY_ENGINE_THREAD: "1" };

const database = useDatabase();

beforeEach(() => database.pool.query("TRUNCATE idempotency_key"));

/** Has a process of its own do something; resolves to what came of it when the process has ended by itself. */
async function inProcess(action, env) {
  const child = fork(PROGRAM, [database.url, action], { env: { ...process.env, ...env } });
  const ended = once(child, "exit");
  const [answer] = await Promise.race([
    once(child, "message"),
    ended.then(([code, signal]) => [`ended with ${code ?? signal}`]),
  ]);
  expect(await ended).toEqual([0, null]);
  return answer;
}

test.each([
  ["the event loop of the main thread waits", {}, process.platform === "linux"],
  ["the engine's thread waits if IDEMPOTENCY_ENGINE_THREAD is set", ENGINE_THREAD, false],
])("%s", async (_, env, hasUnread) => {
  expect(await inProcess("unread", env)).toBe(hasUnread);
});

test.each([
  ["the event loop", {}],
  ["the engine's thread", ENGINE_THREAD],
])("an answer that came in time counts, however long JavaScript was busy: %s", async (_, env) => {
  expect(await inProcess("blocked for longer than a statement may take", env)).toBe(201);
});

test("worker threads do not wait for the main thread", async () => {
  const answer = await inProcess("blocked until a worker is done");
  expect(answer).toEqual({ isDone: true, idempotency_key: "main" });
});
