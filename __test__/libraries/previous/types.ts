// Compiled, never run: see ../newest/types.ts.

import type { MikroORM } from "@mikro-orm/postgresql";
import { createIdempotency } from "../../..";
import { expectSame } from "../equal.js";
import type { PrismaClient } from "./generated/index.js";

declare const orm: MikroORM;
declare const prisma: PrismaClient;

export async function byFactory() {
  await createIdempotency({ manager: orm.em }).workStage("k", async (em) => {
    expectSame<typeof em, MikroORM["em"]>(true);
    return {};
  });
  await createIdempotency({ manager: prisma }).workStage("k", async (tx) => {
    await tx.effect.create({ data: { name: "x" } });
    // @ts-expect-error it is a transaction's client
    await tx.$disconnect();
    return {};
  });
}
