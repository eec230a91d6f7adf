"use strict";

const { dropTemplate } = require("../../examples/medusa-v1/shop-database");
const { asAdmin } = require("./global-setup");

module.exports = async () => {
  await asAdmin(`DROP DATABASE IF EXISTS ${process.env.TEST_TEMPLATE}`);
  await dropTemplate(process.env.TEST_DATABASE_URL);
  await globalThis.startedServer?.stop();
};
