"use strict";

module.exports = { testEnvironment: "node", testMatch: ["<rootDir>/*.spec.js"], transform: {} };
