"use strict";

const { checkUrl } = require("./database/connections");
const { medusaError } = require("./errors/errors");
const { handleOf, nameOf, rootOf } = require("./handles");
const { ON_INTERRUPTED } = require("./request/interrupted");
const { millisecondsFrom } = require("./values/durations");
const { shown } = require("./values/shown");

const MAX_MILLISECONDS = 2 ** 31 - 1;

const MODES = ["exactly-once", "medusa"];

/** Each function throws for a wrong value, and may return the value in another form. */
const CHECKS = {
  mode: oneOf(MODES),
  databaseUrl,
  schema: nonEmptyText,
  maxConnections: integer(1, 1000),
  lockTimeout: integer(0, MAX_MILLISECONDS),
  leaseTimeout: integer(1, MAX_MILLISECONDS),
  maxDuration: longerThanNothing,
  waitTimeout: integer(0, MAX_MILLISECONDS),
  connectTimeout: timeout,
  statementTimeout: timeout,
  acquireTimeout: timeout,
  onInterrupted: oneOf(ON_INTERRUPTED, "a function that answers one of them"),
  maxRetries: integer(0, 100),
  maxBatchSize: integer(1, 10_000),
  maxBatchBytes: integer(1024, 2 ** 28),
  maxQueued: integer(1, 1_000_000),
  retention: duration,
  commitKeyFirst: boolean,
  manager,
};

const DEFAULTS = {
  mode: "exactly-once",
  databaseUrl: undefined,
  schema: undefined,
  maxConnections: 4,
  lockTimeout: 1000,
  leaseTimeout: 10_000,
  maxDuration: 300_000,
  waitTimeout: 0,
  connectTimeout: 10_000,
  statementTimeout: 30_000,
  acquireTimeout: 30_000,
  onInterrupted: "retry",
  maxRetries: 3,
  maxBatchSize: 512,
  maxBatchBytes: 2 ** 20,
  maxQueued: 16_384,
  retention: undefined,
  commitKeyFirst: false,
  manager: undefined,
};

/** Settings by their options: services are constructed for each request, mostly with the same object. */
const checked = new WeakMap();

/**
 * Reads the settings of a service from its constructor's second argument.
 *
 * @param {unknown} options
 * @param {unknown} container the first argument, for those who gave the options there
 */
function settingsFrom(options, container) {
  if (options === undefined || options === null) {
    refuseOptionsInPlaceOfContainer(container);
    return DEFAULTS;
  }
  if (typeof options !== "object" || Array.isArray(options)) {
    throw invalid("the options have to be an object");
  }
  let settings = checked.get(options);
  if (!settings) {
    settings = check(isConfigModule(options) ? {} : options);
    checked.set(options, settings);
  }
  return settings;
}

/** Medusa passes its config to a project's own services where a plugin's services receive their options. */
function isConfigModule(options) {
  return "projectConfig" in options;
}

function check(options) {
  const settings = { ...DEFAULTS };
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(CHECKS, name)) {
      const known = Object.keys(CHECKS).join(", ");
      throw invalid(`there is no option ${JSON.stringify(name)}; there are ${known}`);
    }
    if (value !== undefined) {
      settings[name] = CHECKS[name](name, value) ?? value;
    }
  }
  return settings;
}

/** Detects `new IdempotencyKeyService({ databaseUrl })`: the container comes first. */
function refuseOptionsInPlaceOfContainer(container) {
  const isPlain =
    typeof container === "object" &&
    container !== null &&
    [Object.prototype, null].includes(Object.getPrototypeOf(container));
  // A container has a manager, too.
  const isOption = (name) => name !== "manager" && Object.hasOwn(container, name);
  const option = isPlain && Object.keys(CHECKS).find(isOption);
  if (option) {
    throw invalid(
      `the option ${option} was given in place of the container: ` +
        "new IdempotencyKeyService(container, options)",
    );
  }
}

/** @param {string} [orFunction] what a function in place of a value does, where there may be one */
function oneOf(values, orFunction) {
  const allowed = [values.join(", "), orFunction].filter(Boolean).join(", or ");
  return (name, value) => {
    if (!values.includes(value) && !(orFunction && typeof value === "function")) {
      throw invalid(`${name} has to be one of ${allowed}, not ${shown(value)}`);
    }
  };
}

function databaseUrl(name, value) {
  if (typeof value !== "string") {
    throw invalid(`${name} has to be a string, not ${typeof value}`);
  }
  checkUrl(value);
}

function nonEmptyText(name, value) {
  if (typeof value !== "string" || value === "" || value.includes("\0")) {
    throw invalid(`${name} has to be a non-empty string, not ${shown(value)}`);
  }
}

function integer(least, most) {
  return (name, value) => {
    if (!Number.isInteger(value) || value < least || value > most) {
      throw invalid(`${name} has to be an integer from ${least} to ${most}, not ${shown(value)}`);
    }
  };
}

function boolean(name, value) {
  if (typeof value !== "boolean") {
    throw invalid(`${name} has to be true or false, not ${shown(value)}`);
  }
}

function duration(name, value) {
  return millisecondsFrom(value, (message) => invalid(`${name} ${message}`));
}

function longerThanNothing(name, value) {
  const milliseconds = duration(name, value);
  if (milliseconds === 0) {
    throw invalid(`${name} has to be longer than 0 ms`);
  }
  return milliseconds;
}

/** A timer of the runtime's cannot be longer. */
function timeout(name, value) {
  const milliseconds = longerThanNothing(name, value);
  if (milliseconds > MAX_MILLISECONDS) {
    throw invalid(`${name} has to be at most ${MAX_MILLISECONDS} ms`);
  }
  return milliseconds;
}

/** What transactions are opened through: the same as a container's manager. */
function manager(name, value) {
  if (handleOf(value) && !rootOf(value)) {
    throw invalid(`${name} was given the handle of a transaction: pass it to withTransaction()`);
  }
  if (!rootOf(value)) {
    throw invalid(
      `${name} has to be what a library opens transactions through (an EntityManager, a knex, a Kysely, a PrismaClient, ` +
        `a Sequelize, a db of Drizzle, a pool of pg or a sql of postgres.js), not ${nameOf(value)}`,
    );
  }
}

function invalid(message) {
  return medusaError("invalid_argument", `medusa-idempotency-key: ${message}`, "invalid_option");
}

module.exports = { settingsFrom };
