"use strict";

const { TestEnvironment } = require("jest-environment-node");

/**
 * A test environment in which helpers/libraries/load.js finds Node's own import(): Jest's cannot load all ES modules.
 */
module.exports = class LibrariesEnvironment extends TestEnvironment {
  async setup() {
    await super.setup();
    this.global.importByNode = (file) => import(file);
  }
};
