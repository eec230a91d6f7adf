"use strict";

// Processes that race for a key, and one that is killed: the effects are in the library's transactions.

const { fork } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const { useDatabase } = require("./helpers/database");
const { LIBRARIES } = require("./helpers/libraries");

const database = useDatabase();
const backends = new Set();

beforeAll(() => database.pool.query("CREATE TABLE effect (name text)"));
beforeEach(() => database.pool.query("TRUNCATE effect"));

afterEach(() => {
  backends.forEach((backend) => backend.kill("SIGKILL"));
  backends.clear();
});

async function start(name) {
  const program = path.join(__dirname, "fixtures/library-backend.js");
  const backend = fork(program, [name, database.url]);
  backends.add(backend);
  await once(backend, "message");
  return backend;
}

/** Has a backend do a request, and answers its next message. */
async function ask(backend, request) {
  const answer = once(backend, "message");
  backend.send(request);
  return (await answer)[0];
}

async function effects() {
  const { rows } = await database.pool.query("SELECT name FROM effect ORDER BY name");
  return rows.map(({ name }) => name);
}

describe.each(LIBRARIES)("$title", ({ name }) => {
  test("of two processes that race for a key, one does its work", async () => {
    const racing = await Promise.all([start(name), start(name)]);
    const keys = Array.from({ length: 8 }, (_each, index) => `${name}-${index}`);
    for (const key of keys) {
      const answers = await Promise.all(racing.map((backend) => ask(backend, { key })));
      expect(answers).toEqual([{ code: 201 }, { code: 201 }]);
    }
    expect(await effects()).toEqual([...keys].sort());
  });

  test("when a process is killed in mid-stage, the retry does the work once", async () => {
    const [victim, other] = await Promise.all([start(name), start(name)]);
    const key = `${name}-killed`;
    expect(await ask(victim, { key, hang: true })).toEqual({ hanging: true });
    backends.delete(victim);
    victim.kill("SIGKILL");
    await once(victim, "exit");
    expect(await ask(other, { key })).toEqual({ code: 201 });
    expect(await effects()).toEqual([key]);
  });
});
