/** @jest-environment ./__test__/helpers/libraries-environment.js */
"use strict";

// What only postgres.js does.

const { rejection, useDatabase } = require("./helpers/database");
const { libraryNamed } = require("./helpers/libraries");

const database = useDatabase();
const LONG = 60_000;

test("a statement in the queue of a transaction that has ended is given up, and never does anything", async () => {
  const library = database.closed(await libraryNamed("postgres-js").open(database.url, { max: 1 }));
  const service = database.service();
  let bound;
  await library.begin(async (sql) => {
    bound = service.withTransaction(sql);
    await bound.create({ idempotency_key: "k" });
  });
  const locking = await database.pool.connect();
  await locking.query("BEGIN; SELECT pg_advisory_xact_lock(1)");
  jest.useFakeTimers({ doNotFake: ["nextTick", "setImmediate", "queueMicrotask", "performance"] });
  try {
    await library.begin(async (sql) => {
      // A statement with parameters, during which the connection takes no other.
      const busy = sql`SELECT pg_advisory_xact_lock(${1})`.execute();
      const late = rejection(bound.update("k", { response_code: 200 }));
      await locking.query("SELECT 1");
      jest.advanceTimersByTime(LONG);
      expect(await late).toMatchObject({ code: "transaction_ended" });
      await locking.query("COMMIT");
      await busy;
    });
  } finally {
    jest.useRealTimers();
    locking.release();
  }
  expect((await service.retrieve("k")).response_code).toBeNull();
});
