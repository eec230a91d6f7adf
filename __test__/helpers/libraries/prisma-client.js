"use strict";

const { load } = require("./load");

/** Version 7 has nested transactions, version 6 has none: its users write the savepoint. */
async function nested(tx, work) {
  if (tx.$transaction) {
    return tx.$transaction(async (inner) => work(inner));
  }
  await tx.$executeRaw`SAVEPOINT nested`;
  try {
    return await work(tx);
  } catch (error) {
    await tx.$executeRaw`ROLLBACK TO SAVEPOINT nested`;
    throw error;
  }
}

/**
 * @param {"newest" | "previous"} folder version 7 or 6
 * @returns {import(".").Opener}
 */
function prisma(folder) {
  return async (url, { max } = {}) => {
    const { PrismaPg } = await load("@prisma/adapter-pg", folder);
    const { PrismaClient } = await load("./generated/index.js", folder);
    const client = new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max }) });
    return {
      root: client,
      // Its settings are private.
      tellsConnection: false,
      begin: (work) => client.$transaction(async (tx) => work(tx)),
      insert: (tx, name) => tx.effect.create({ data: { name } }),
      fail: (tx) => tx.$queryRawUnsafe("SELECT 1 / 0"),
      nested,
      mistakes: [["an object", client.effect]],
      close: () => client.$disconnect(),
    };
  };
}

module.exports = { prisma };
