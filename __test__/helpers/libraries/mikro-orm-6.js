"use strict";

const { mikroOrm } = require("./mikro-orm-entities");

module.exports = { title: "MikroORM 6", open: mikroOrm("previous") };
