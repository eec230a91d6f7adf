"use strict";

const { mikroOrm } = require("./mikro-orm-entities");

module.exports = { title: "MikroORM 7", open: mikroOrm("newest") };
