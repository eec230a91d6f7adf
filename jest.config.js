"use strict";

module.exports = {
  testEnvironment: "node",
  testMatch: ["<rootDir>/__test__/**/*.test.js"],
  globalSetup: "<rootDir>/__test__/helpers/global-setup.js",
  globalTeardown: "<rootDir>/__test__/helpers/global-teardown.js",
  // Servers and processes are started in tests, on machines with little to spare.
  testTimeout: 30_000,
};
