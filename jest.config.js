"use strict";

module.exports = {
  testEnvironment: "node",
  testMatch: ["<rootDir>/__test__/**/*.test.js"],
  globalSetup: "<rootDir>/__test__/helpers/global-setup.js",
  globalTeardown: "<rootDir>/__test__/helpers/global-teardown.js",
  // In parallel also on small machines, where Jest would run all files in its own process.
  maxWorkers: 2,
  // Servers and processes are started in tests, on machines with little to spare.
  testTimeout: 120_000,
};
