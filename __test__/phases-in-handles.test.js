/** @jest-environment ./__test__/helpers/libraries-environment.js */
"use strict";

// atomicPhase_ with an error handler in somebody else's transaction: the same for every library.

const { rejection, useDatabase } = require("./helpers/database");
const { LIBRARIES } = require("./helpers/libraries");

/** Their handles have no statement after a ROLLBACK that would be refused: it is a connection's, as everywhere there. */
const GO_ON = /^(typeorm|pg)/;

const database = useDatabase();

beforeAll(() => database.pool.query("CREATE TABLE effect (name text)"));
beforeEach(() => database.pool.query("TRUNCATE effect, idempotency_key"));

async function effects() {
  const { rows } = await database.pool.query("SELECT name FROM effect ORDER BY name");
  return rows.map(({ name }) => name);
}

describe.each(LIBRARIES)("$title", ({ name, open }) => {
  let library;
  let service;

  beforeAll(async () => {
    library = database.closed(await open(database.url));
    service = database.service();
  });

  test("the error handler finds the transaction rolled back", async () => {
    const failure = new Error("no");
    const handled = [];
    const transaction = library.begin((handle) => {
      const bound = service.withTransaction(handle);
      const phase = async (given) => {
        expect(given).toBe(handle);
        await library.insert(given, "undone");
        await bound.create({ idempotency_key: "undone" });
        throw failure;
      };
      return bound.atomicPhase_(phase, async (error) => {
        handled.push(error);
        expect(await rejection(bound.create({}))).toBeDefined();
        if (!GO_ON.test(name)) {
          await rejection(Promise.resolve(library.insert(handle, "late")));
        }
      });
    });
    await rejection(transaction);
    expect(handled).toEqual([failure]);
    expect(await effects()).toEqual([]);
    expect((await database.pool.query("SELECT FROM idempotency_key")).rowCount).toBe(0);
  });
});
