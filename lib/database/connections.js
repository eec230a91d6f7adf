"use strict";

const { createHash, randomUUID } = require("node:crypto");
const { medusaError } = require("../errors/errors");
const { tlsOf } = require("./tls");
const { fieldsOf } = require("./url");

/** Connections by the settings that they were made of, which many services share. */
const ofSettings = new WeakMap();
/** A number for each password function: functions have no value to compare. */
const functionNumbers = new WeakMap();
/** Tells the functions of this copy of the package from those of other copies and threads of the process. */
const COPY = randomUUID();

/**
 * Finds how the database of a service is reached: by its options, else its container, else the environment.
 *
 * @param {{ databaseUrl?: string, schema?: string }} options of the service
 * @param {() => { source: string, settings: { connection: object, schema?: string } } | undefined} fromContainer
 *   the settings as `pg` takes them, and what they are called in messages
 * @returns what the native service is opened with to reach it
 */
function connectionOf({ databaseUrl, schema }, fromContainer) {
  if (databaseUrl) {
    return withSchema(connectionOfUrl(OPTION, databaseUrl), schema);
  }
  const found = fromContainer();
  if (found) {
    return withSchema(connectionOfSettings(found), schema);
  }
  const url = process.env.DATABASE_URL;
  if (!url) {
    throw medusaError(
      "invalid_argument",
      "no database: give the option databaseUrl or set DATABASE_URL",
      "no_database",
    );
  }
  return withSchema(connectionOfUrl("DATABASE_URL", url), schema);
}

const OPTION = "medusa-idempotency-key: databaseUrl";

/** Throws for what is no URL of a database. The message does not repeat it: it may contain a password. */
function checkUrl(url) {
  connectionOfUrl(OPTION, url);
}

function connectionOfUrl(name, url) {
  return named(name, () => fromPg({ connectionString: url }));
}

/** Prefixes the message about a refused setting with where the setting comes from. */
function named(source, read) {
  try {
    return read();
  } catch (error) {
    throw medusaError("invalid_argument", `${source} ${error.message}`, "invalid_option");
  }
}

function withSchema(connection, schema) {
  return schema ? { ...connection, schema } : connection;
}

function connectionOfSettings({ source, settings }) {
  let connection = ofSettings.get(settings);
  if (!connection) {
    connection = named(source, () => fromPg(settings.connection));
    ofSettings.set(settings, connection);
  }
  return withSchema(connection, settings.schema);
}

/** Reads settings as `pg` does: those in the URL override the others. */
function fromPg({ connectionString, ...settings }) {
  const fields = {
    ...settings,
    ...(connectionString === undefined ? {} : given(fieldsOf(connectionString))),
  };
  const host = fields.host || process.env.PGHOST || "localhost";
  const port = portOf(fields.port || process.env.PGPORT || 5432);
  const connection = {
    hosts: fields.hosts?.map((one) => ({ host: one.host, port: one.port ?? port })) ?? [
      { host, port },
    ],
    targetSession: fields.targetSession,
    user: fields.user || undefined,
    ...passwordOf(fields.password),
    database: fields.database || undefined,
    options: fields.options || undefined,
    applicationName: fields.application_name || fields.fallback_application_name || undefined,
    tls: tlsOf(fields.ssl ?? sslOfEnvironment(), host),
    isPooled: fields.isPooled,
  };
  return { identity: identityOf(connection), connection, schema: fields.schema };
}

function portOf(given) {
  const port = Number(given);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Error("has a port that is no number from 1 to 65535");
  }
  return port;
}

function given(fields) {
  const entries = Object.entries(fields);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined && value !== null));
}

function passwordOf(password) {
  if (typeof password !== "function") {
    return { password: password || undefined };
  }
  return { passwordFunction: async () => String(await password()) };
}

function sslOfEnvironment() {
  switch (process.env.PGSSLMODE) {
    case "prefer":
    case "require":
    case "verify-ca":
    case "verify-full":
      return true;
    case "no-verify":
      return "no-verify";
    default:
      return false;
  }
}

/** What identifies a connection among the process's pools: a digest, since it contains the password. */
function identityOf(connection) {
  const text = JSON.stringify(connection, (_, value) =>
    typeof value === "function" ? `function ${COPY} ${numberOf(value)}` : value,
  );
  return createHash("sha256").update(text).digest("hex");
}

function numberOf(passwordFunction) {
  if (!functionNumbers.has(passwordFunction)) {
    functionNumbers.set(passwordFunction, (numberOf.last = (numberOf.last ?? 0) + 1));
  }
  return functionNumbers.get(passwordFunction);
}

module.exports = { checkUrl, connectionOf };
