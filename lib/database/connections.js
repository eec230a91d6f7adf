"use strict";

const { randomUUID } = require("node:crypto");
const { parse } = require("pg-connection-string");
const { checkDatabaseUrl } = require("../bridge/binding");
const { medusaError } = require("../errors/errors");

/** TypeORM's options are the same object for a whole DataSource. */
const ofOptions = new WeakMap();
/** Tells password functions apart, which have no value to compare: */
const functionNumbers = new WeakMap();
/** those of this copy of the package, and those of other copies and threads of the process. */
const COPY = randomUUID();

/**
 * How the database of a service is reached: what its options say, else its manager's DataSource,
 * else Medusa's config, else the environment.
 *
 * @param {{ databaseUrl?: string, schema?: string }} settings
 * @param {object | undefined} manager a TypeORM EntityManager
 * @param {object | undefined} projectConfig Medusa's
 * @returns what the native service is opened with to reach it
 */
function connectionOf(settings, manager, projectConfig) {
  const { databaseUrl, schema } = settings;
  if (databaseUrl) {
    return { identity: databaseUrl, databaseUrl, schema };
  }
  const dataSource = manager?.connection?.options;
  if (dataSource?.type === "postgres") {
    return withSchema(connectionOfDataSource(dataSource), schema);
  }
  if (projectConfig?.database_url) {
    return withSchema(connectionOfProject(projectConfig), schema);
  }
  const url = process.env.DATABASE_URL;
  if (!url) {
    throw medusaError(
      "invalid_argument",
      "no database: give the option databaseUrl or set DATABASE_URL",
      "no_database",
    );
  }
  checkUrl("DATABASE_URL", url);
  return { identity: url, databaseUrl: url, schema };
}

/** Refuses what is no URL of a database; the message does not repeat it, as it may hold a password. */
function checkUrl(name, url) {
  try {
    checkDatabaseUrl(url);
  } catch (error) {
    throw medusaError("invalid_argument", `${name} ${error.message}`, "invalid_option");
  }
}

function withSchema(connection, schema) {
  return schema ? { ...connection, schema } : connection;
}

function connectionOfDataSource(options) {
  let connection = ofOptions.get(options);
  if (!connection) {
    connection = fromTypeOrm(options);
    ofOptions.set(options, connection);
  }
  return connection;
}

/** The config that Medusa would make a DataSource of. */
function connectionOfProject({ database_url, database_schema, database_extra, database_database }) {
  return fromTypeOrm({
    url: database_url,
    schema: database_schema,
    extra: database_extra,
    database: database_database,
  });
}

/** As TypeORM passes its options on to `pg`, where what the URL says comes last. */
function fromTypeOrm(options) {
  const { url, schema, extra = {} } = options;
  const fields = {
    host: options.host,
    port: options.port,
    user: options.username,
    password: options.password,
    database: options.database,
    ssl: options.ssl,
    application_name: options.applicationName,
    ...extra,
    ...(url ? given(parse(url)) : {}),
  };
  const connection = {
    host: fields.host || process.env.PGHOST || "localhost",
    port: Number(fields.port || process.env.PGPORT || 5432),
    user: fields.user || undefined,
    ...passwordOf(fields.password),
    database: fields.database || undefined,
    options: fields.options || undefined,
    applicationName: fields.application_name || undefined,
    tls: tlsOf(fields.ssl ?? sslOfEnvironment()),
  };
  return { identity: identityOf(connection), connection, schema: schema || undefined };
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

/** `ssl` in all the forms that `pg` takes. */
function tlsOf(ssl) {
  if (!ssl || ssl === "false" || ssl === "0") {
    return undefined;
  }
  if (typeof ssl !== "object") {
    return { verify: ssl !== "no-verify" };
  }
  return {
    verify: ssl.rejectUnauthorized !== false,
    ca: pem(ssl.ca),
    cert: pem(ssl.cert),
    key: pem(ssl.key),
  };
}

function pem(value) {
  if (Array.isArray(value)) {
    return value.map(pem).join("\n");
  }
  return value === undefined || value === null ? undefined : String(value);
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

function identityOf(connection) {
  return JSON.stringify(connection, (_, value) =>
    typeof value === "function" ? `function ${COPY} ${numberOf(value)}` : value,
  );
}

function numberOf(passwordFunction) {
  if (!functionNumbers.has(passwordFunction)) {
    functionNumbers.set(passwordFunction, (numberOf.last = (numberOf.last ?? 0) + 1));
  }
  return functionNumbers.get(passwordFunction);
}

module.exports = { checkUrl, connectionOf };
