"use strict";

// What Medusa reads from the environment, most of it before its first line runs.

const fs = require("node:fs");
const path = require("node:path");
const { forPg } = require("./database-url");

/** One for each user: what Medusa writes there nobody else can read. */
const CONFIG_FOLDER = path.join(__dirname, "node_modules", `.config-${process.getuid?.() ?? 0}`);
/** With telemetry off in this file too, Medusa leaves no process behind that would send it. */
const NO_TELEMETRY = { telemetry: { enabled: false, machine_id: "none" } };
const SERVICES = ["medusa", "ours"];

/**
 * The environment of a Medusa that keeps to its folder.
 *
 * @param {{ databaseUrl: string, service: "medusa" | "ours" }} options `service`: whose idempotency
 *   keys
 * @returns {Record<string, string>} to be added to this process's own
 */
function medusaEnvironment({ databaseUrl, service }) {
  if (!databaseUrl) {
    throw new Error("Medusa needs the URL of a prepared database (DATABASE_URL)");
  }
  if (!SERVICES.includes(service)) {
    throw new Error(`the service has to be one of ${SERVICES.join(", ")}, not ${service}`);
  }
  writeTelemetryConfig();
  return {
    DATABASE_URL: forPg(databaseUrl),
    IDEMPOTENCY_SERVICE: service,
    NODE_ENV: nodeEnvironment(),
    LOG_LEVEL: logLevel(),
    MEDUSA_DISABLE_TELEMETRY: "1",
    XDG_CONFIG_HOME: CONFIG_FOLDER,
  };
}

/** Jest's "test" would make Medusa load mocks; without any, Medusa draws spinners. */
function nodeEnvironment() {
  const given = process.env.NODE_ENV;
  return given && given !== "test" ? given : "production";
}

/** `LOG=1`: everything, `LOG=error`: errors, else nothing. */
function logLevel() {
  const { LOG } = process.env;
  if (!LOG) {
    return "silent";
  }
  return LOG === "error" ? "error" : "silly";
}

function writeTelemetryConfig() {
  const file = path.join(CONFIG_FOLDER, "medusa", "config.json");
  if (!fs.existsSync(file)) {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, JSON.stringify(NO_TELEMETRY));
  }
}

module.exports = { medusaEnvironment };
