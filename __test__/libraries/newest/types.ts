// Compiled, never run: what callbacks get, inferred from what a service is given, without an import of any library.

import type { MikroORM } from "@mikro-orm/postgresql";
import type { NodePgDatabase } from "drizzle-orm/node-postgres";
import type { PostgresJsDatabase } from "drizzle-orm/postgres-js";
import type { Knex } from "knex";
import type { Kysely, Transaction } from "kysely";
import type { Pool, PoolClient } from "pg";
import type { Sql, TransactionSql } from "postgres";
import type { Sequelize, Transaction as SequelizeTransaction } from "sequelize";
import type { EntityManager } from "typeorm";
import { createIdempotency, IdempotencyKeyService, type TransactionManager } from "../../..";
import { expectSame } from "../equal.js";
import type { PrismaClient } from "./generated/index.js";

type Tables = { effect: { name: string } };
type CallbackOf<Method extends (...args: any[]) => any> = Parameters<Parameters<Method>[0]>[0];
type PrismaTransaction = CallbackOf<PrismaClient["$transaction"]>;

/** What a stage gets from services that were given a root, as tuples of each way to give it. */
declare const roots: {
  knex: Knex;
  kysely: Kysely<Tables>;
  mikroOrm: MikroORM["em"];
  pool: Pool;
  prisma: PrismaClient;
  sequelize: Sequelize;
  sql: Sql;
  typeOrm: EntityManager;
  drizzle: NodePgDatabase;
  drizzleOverPostgresJs: PostgresJsDatabase;
};

export async function byFactory() {
  await createIdempotency({ manager: roots.knex }).workStage("k", async (trx) => {
    expectSame<typeof trx, Knex.Transaction>(true);
    await trx("effect").insert({ name: "x" });
    return {};
  });
  await createIdempotency({ manager: roots.kysely }).workStage("k", async (trx) => {
    expectSame<typeof trx, Transaction<Tables>>(true);
    await trx.insertInto("effect").values({ name: "x" }).execute();
    return {};
  });
  await createIdempotency({ manager: roots.mikroOrm }).workStage("k", async (em) => {
    expectSame<typeof em, MikroORM["em"]>(true);
    return {};
  });
  await createIdempotency({ manager: roots.pool }).workStage("k", async (client) => {
    expectSame<typeof client, PoolClient>(true);
    return {};
  });
  await createIdempotency({ manager: roots.prisma }).workStage("k", async (tx) => {
    expectSame<typeof tx, PrismaTransaction>(true);
    await tx.effect.create({ data: { name: "x" } });
    return {};
  });
  await createIdempotency({ manager: roots.sequelize }).workStage("k", async (transaction) => {
    expectSame<typeof transaction, SequelizeTransaction>(true);
    return {};
  });
  await createIdempotency({ manager: roots.sql }).workStage("k", async (sql) => {
    expectSame<typeof sql, TransactionSql>(true);
    return {};
  });
  await createIdempotency({ manager: roots.typeOrm }).workStage("k", async (manager) => {
    expectSame<typeof manager, EntityManager>(true);
    return {};
  });
  await createIdempotency({ manager: roots.drizzle }).workStage("k", async (tx) => {
    expectSame<typeof tx, CallbackOf<NodePgDatabase["transaction"]>>(true);
    return {};
  });
  await createIdempotency({ manager: roots.drizzleOverPostgresJs }).workStage("k", async (tx) => {
    expectSame<typeof tx, CallbackOf<PostgresJsDatabase["transaction"]>>(true);
    return {};
  });
}

/** The first parameter of a stage's callback. */
type StageOf<Service> = Service extends IdempotencyKeyService<infer Tx> ? Tx : never;

export function byConstructor() {
  const knex = new IdempotencyKeyService({}, { manager: roots.knex });
  expectSame<StageOf<typeof knex>, Knex.Transaction>(true);
  const kysely = new IdempotencyKeyService({}, { manager: roots.kysely });
  expectSame<StageOf<typeof kysely>, Transaction<Tables>>(true);
  const mikroOrm = new IdempotencyKeyService({}, { manager: roots.mikroOrm });
  expectSame<StageOf<typeof mikroOrm>, MikroORM["em"]>(true);
  const pool = new IdempotencyKeyService({}, { manager: roots.pool });
  expectSame<StageOf<typeof pool>, PoolClient>(true);
  const prisma = new IdempotencyKeyService({}, { manager: roots.prisma });
  expectSame<StageOf<typeof prisma>, PrismaTransaction>(true);
  const sequelize = new IdempotencyKeyService({}, { manager: roots.sequelize });
  expectSame<StageOf<typeof sequelize>, SequelizeTransaction>(true);
  const sql = new IdempotencyKeyService({}, { manager: roots.sql });
  expectSame<StageOf<typeof sql>, TransactionSql>(true);
  const typeOrm = new IdempotencyKeyService({}, { manager: roots.typeOrm });
  expectSame<StageOf<typeof typeOrm>, EntityManager>(true);
  const drizzle = new IdempotencyKeyService({}, { manager: roots.drizzle });
  expectSame<StageOf<typeof drizzle>, CallbackOf<NodePgDatabase["transaction"]>>(true);
}

/** What a service is bound to decides, whatever its own transactions are. */
export async function byBinding(
  service: IdempotencyKeyService,
  own: IdempotencyKeyService<TransactionManager>,
) {
  await roots.knex.transaction(async (trx) => {
    await service.withTransaction(trx).workStage("k", async (tx) => {
      expectSame<typeof tx, Knex.Transaction>(true);
      return {};
    });
  });
  await roots.prisma.$transaction(async (tx) => {
    await own.withTransaction(tx).runStages(
      { key: "k" },
      {
        started: async (given) => {
          expectSame<typeof given, PrismaTransaction>(true);
          return {};
        },
      },
    );
  });
  await createIdempotency().workStage("k", async (manager) => {
    expectSame<typeof manager, TransactionManager>(true);
    return {};
  });
}

// @ts-expect-error a DataSource or a pool's client opens none
createIdempotency({ manager: { query: async () => [] } });
// @ts-expect-error it is another library's
createIdempotency({ manager: roots.knex }).workStage("k", async (tx: PoolClient) => ({}));
