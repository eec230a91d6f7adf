"use strict";

const { asAdmin } = require("./global-setup");

module.exports = async () => {
  await asAdmin(`DROP DATABASE IF EXISTS ${process.env.TEST_TEMPLATE} WITH (FORCE)`);
  await globalThis.startedServer?.stop();
};
