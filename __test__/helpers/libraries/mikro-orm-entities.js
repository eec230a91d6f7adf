"use strict";

const { load } = require("./load");

/**
 * @param {"newest" | "previous"} folder version 7 or 6
 * @returns {import(".").Opener}
 */
function mikroOrm(folder) {
  return async (url, { max = 10 } = {}) => {
    const { EntitySchema, MikroORM } = await load("@mikro-orm/postgresql", folder);
    const Effect = new EntitySchema({
      name: "Effect",
      tableName: "effect",
      properties: { name: { type: "string", primary: true } },
    });
    const orm = await MikroORM.init({ clientUrl: url, entities: [Effect], pool: { min: 0, max } });
    return {
      root: orm.em,
      begin: (work) => orm.em.fork().transactional(async (em) => work(em)),
      async insert(em, name) {
        em.create(Effect, { name });
        await em.flush();
      },
      fail: (em) => em.execute("SELECT 1 / 0"),
      nested: (em, work) => em.transactional(async (inner) => work(inner)),
      mistakes: [
        ["MikroORM", orm],
        ["class PostgreSqlConnection", orm.em.getConnection()],
      ],
      close: () => orm.close(),
    };
  };
}

module.exports = { mikroOrm };
