"use strict";

/** A DataSource's options are the same object as long as it lives. */
const ofOptions = new WeakMap();

/**
 * The settings that TypeORM passes on to `pg`, and the schema of the tables. With replication the keys are on the
 * master.
 *
 * @param {object} options of a DataSource
 */
function settingsFromTypeOrm(options) {
  let settings = ofOptions.get(options);
  if (!settings) {
    settings = settingsFrom(options);
    ofOptions.set(options, settings);
  }
  return settings;
}

function settingsFrom({ replication, schema, applicationName, extra, ...options }) {
  const server = replication?.master ?? options;
  return {
    connection: {
      connectionString: server.url,
      host: server.host,
      port: server.port,
      user: server.username,
      password: server.password,
      database: server.database,
      ssl: server.ssl ?? extra?.connection?.ssl,
      application_name: applicationName ?? server.applicationName,
      ...extra,
    },
    schema,
  };
}

/** How the database is reached of which Medusa would make a DataSource; undefined where its config names none. */
function connectionOfMedusa(projectConfig) {
  const { database_url, database_schema, database_extra, database_database } = projectConfig ?? {};
  if (!database_url) {
    return undefined;
  }
  const options = {
    url: database_url,
    schema: database_schema,
    extra: database_extra,
    database: database_database,
  };
  return {
    source: "Medusa's config (database_url, database_extra)",
    settings: settingsFrom(options),
  };
}

module.exports = { connectionOfMedusa, settingsFromTypeOrm };
