"use strict";

const { sqlStateOf } = require("../lib/errors/sql-state");

const hostile = {
  get code() {
    throw new Error("no");
  },
  original: { code: "40001" },
};

test.each([
  ["pg, postgres.js, knex, Kysely", { code: "40001" }, "40001"],
  ["Drizzle", { cause: { code: "40P01" } }, "40P01"],
  ["TypeORM", { code: "23505", driverError: { code: "23505" } }, "23505"],
  ["Sequelize", { original: { code: "XX000" } }, "XX000"],
  [
    "Prisma over an adapter",
    { code: "P2010", meta: { driverAdapterError: { cause: { originalCode: "22P02" } } } },
    "22P02",
  ],
  ["Prisma's COMMIT over an adapter", { cause: { originalCode: "40001" } }, "40001"],
  ["Prisma's engine", { code: "P2010", meta: { code: "57P01" } }, "57P01"],
  ["an exception of PL/pgSQL", { code: "P0001" }, "P0001"],
  ["a getter that throws", hostile, "40001"],
  ["a system error", { code: "EPIPE" }, undefined],
  ["Prisma's own code", { code: "P2034" }, undefined],
  ["another code", { code: "lease_lost" }, undefined],
  ["a number", { code: 23505 }, undefined],
  ["text", "40001", undefined],
  ["nothing", undefined, undefined],
])("the SQLSTATE of %s", (_, error, expected) => {
  expect(sqlStateOf(error)).toBe(expected);
});
