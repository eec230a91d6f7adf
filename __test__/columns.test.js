"use strict";

const { DataSource } = require("typeorm");
const { columnNames } = require("../lib/bridge/binding");
const { COLUMNS } = require("../lib/values/keys");
const { useDatabase } = require("./helpers/database");

// The ten columns are listed once for each language. Every value here is another column's neighbour: a swap
// anywhere between the caller and the table shows.

const database = useDatabase();

const VALUES = {
  id: "ikey_columns",
  idempotency_key: "columns",
  created_at: new Date("2001-02-03T04:05:06.789Z"),
  locked_at: new Date("2002-03-04T05:06:07.891Z"),
  request_method: "METHOD",
  request_params: { params: 1 },
  request_path: "/path",
  response_code: 299,
  response_body: { body: 2 },
  recovery_point: "point",
};
const named = (suffix) => ({
  ...VALUES,
  id: `${VALUES.id}-${suffix}`,
  idempotency_key: `${VALUES.idempotency_key}-${suffix}`,
});

const PLACES = ["alone", "together", "in a transaction of the engine's", "in TypeORM's"];

/** Makes some calls at a place, each of which gets a service and a number. */
async function at(place, count, call) {
  const service = database.service();
  const numbers = Array.from({ length: count }, (_, number) => number);
  if (place === "alone") {
    return [await call(service, 0)];
  }
  if (place === "together") {
    return Promise.all(numbers.map((number) => call(service, number)));
  }
  const inTransaction = (manager) => call(service.withTransaction(manager), 0);
  if (place === "in TypeORM's") {
    const dataSource = new DataSource({ type: "postgres", url: database.url });
    await dataSource.initialize();
    try {
      return [await dataSource.manager.transaction(inTransaction)];
    } finally {
      await dataSource.destroy();
    }
  }
  return [await service.atomicPhase_(inTransaction)];
}

/** What is stored of a key, as `pg` sees it. */
async function stored({ idempotency_key }) {
  const sql = `SELECT ${COLUMNS.join(", ")} FROM idempotency_key WHERE idempotency_key = $1`;
  return (await database.pool.query(sql, [idempotency_key])).rows[0];
}

test("the engine and JavaScript have the same columns in the same order", () => {
  expect(columnNames()).toEqual(COLUMNS);
  expect(Object.keys(VALUES)).toEqual(COLUMNS);
});

describe.each(PLACES)("%s", (place) => {
  test("every column is stored and answered as itself", async () => {
    const created = await at(place, 5, (service, number) =>
      service.create(named(`${place}-${number}`)),
    );
    for (const [number, key] of created.entries()) {
      expect(key).toEqual(named(`${place}-${number}`));
      expect(await stored(key)).toEqual(key);
    }
  });

  test("every column is changed as itself, and read as itself", async () => {
    const changed = await at(place, 5, async (service, number) => {
      const suffix = `changed-${place}-${number}`;
      const { idempotency_key: key } = await service.create({
        idempotency_key: `${suffix}-before`,
      });
      await service.update(key, named(suffix));
      return service.retrieve(named(suffix).idempotency_key);
    });
    for (const [number, key] of changed.entries()) {
      expect(key).toEqual(named(`changed-${place}-${number}`));
      expect(await stored(key)).toEqual(key);
    }
  });

  test.each(COLUMNS)("a selector finds by %s", async (column) => {
    const suffix = `by-${column}-${place}`;
    const own = { request_method: "M", request_path: "/p", recovery_point: "r" };
    const value = {
      created_at: new Date(`2003-01-01T00:00:00.${100 + PLACES.indexOf(place)}Z`),
      locked_at: new Date(`2004-01-01T00:00:00.${100 + PLACES.indexOf(place)}Z`),
      response_code: 300 + PLACES.indexOf(place),
      request_params: { suffix },
      response_body: { suffix },
    };
    const text = `${named(suffix)[column]}-${suffix}`;
    const looked = value[column] ?? (column === "id" ? `${VALUES.id}-${suffix}` : text);
    const [key] = await at(place, 1, async (service) => {
      await service.create({ ...named(suffix), ...own, [column]: looked });
      return service.retrieve({ [column]: looked });
    });
    expect(key[column]).toEqual(looked);
  });
});
