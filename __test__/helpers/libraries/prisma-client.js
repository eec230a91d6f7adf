"use strict";

const { load } = require("./load");

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
      begin: (work) => client.$transaction(async (tx) => work(tx)),
      insert: (tx, name) => tx.effect.create({ data: { name } }),
      fail: (tx) => tx.$queryRawUnsafe("SELECT 1 / 0"),
      mistakes: [["an object", client.effect]],
      close: () => client.$disconnect(),
    };
  };
}

module.exports = { prisma };
