"use strict";

const { medusaError } = require("../errors/errors");

/** The isolation levels that PostgreSQL knows. */
const ISOLATION_LEVELS = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/**
 * @param {string} isolation
 * @returns {string} the level as SQL has it; another one is refused
 */
function isolationLevel(isolation) {
  const level = String(isolation).toUpperCase();
  if (!ISOLATION_LEVELS.includes(level)) {
    throw medusaError("invalid_argument", `"${isolation}" is no isolation level`);
  }
  return level;
}

module.exports = { isolationLevel };
