"use strict";

// The settings of the part role-settings, as data.

/**
 * @typedef {object} Settings
 * @property {string} what
 * @property {Record<string, string>} settings each setting with its value, as SQL
 * @property {number} [since] the first version of PostgreSQL that has it, as in `server_version_num`
 * @property {string} [schema] where the table is found, if not in `public`
 * @property {boolean} [idles] wait until the server has closed all connections, and go on then
 */

const one = (setting, value, more) => ({
  what: `${setting} ${value.replaceAll(/\W+/g, " ").trim()}`,
  settings: { [setting]: value },
  ...more,
});

/** @type {Settings[]} */
const SETTINGS = [
  one("default_transaction_isolation", "'serializable'"),
  one("default_transaction_isolation", "'repeatable read'"),
  {
    what: "read-only serializable transactions may wait",
    settings: {
      default_transaction_isolation: "'serializable'",
      default_transaction_deferrable: "on",
    },
  },
  one("default_transaction_read_only", "off"),
  one("statement_timeout", "'10s'"),
  one("lock_timeout", "'5s'"),
  one("transaction_timeout", "'20s'", { since: 170_000 }),
  one("idle_in_transaction_session_timeout", "'10s'"),
  one("idle_session_timeout", "'1s'", { idles: true }),
  one("standard_conforming_strings", "off"),
  one("backslash_quote", "off"),
  one("escape_string_warning", "off"),
  one("array_nulls", "off"),
  one("transform_null_equals", "on"),
  one("quote_all_identifiers", "on"),
  one("DateStyle", "'SQL, DMY'"),
  one("DateStyle", "'German'"),
  one("DateStyle", "'Postgres, YMD'"),
  one("TimeZone", "'Asia/Kathmandu'"),
  one("TimeZone", "'America/St_Johns'"),
  one("timezone_abbreviations", "'Australia'"),
  one("IntervalStyle", "'sql_standard'"),
  one("IntervalStyle", "'iso_8601'"),
  one("IntervalStyle", "'postgres_verbose'"),
  one("bytea_output", "'escape'"),
  one("extra_float_digits", "0"),
  one("extra_float_digits", "-15"),
  one("client_encoding", "'LATIN1'"),
  one("client_encoding", "'SQL_ASCII'"),
  one("client_min_messages", "'debug5'"),
  one("client_min_messages", "'error'"),
  one("plan_cache_mode", "'force_generic_plan'"),
  one("plan_cache_mode", "'force_custom_plan'"),
  one("session_replication_role", "'replica'"),
  one("row_security", "off"),
  one("search_path", "elsewhere, public", { schema: "elsewhere" }),
  one("search_path", "no_such_schema, public"),
  one("role", "keeper"),
  one("synchronous_commit", "off"),
  one("work_mem", "'64kB'"),
  one("debug_parallel_query", "'on'", { since: 160_000 }),
  { what: "compiled always", settings: { jit: "on", jit_above_cost: "0" } },
  {
    what: "no index is used",
    settings: { enable_indexscan: "off", enable_bitmapscan: "off", enable_indexonlyscan: "off" },
  },
  {
    what: "only merge joins",
    settings: { enable_nestloop: "off", enable_hashjoin: "off", enable_memoize: "off" },
  },
  {
    what: "only hash joins",
    settings: { enable_nestloop: "off", enable_mergejoin: "off", enable_seqscan: "off" },
  },
  { what: "joins as written", settings: { from_collapse_limit: "1", join_collapse_limit: "1" } },
];

/** Settings under which calls cannot be right.
 * @type {Settings[]} */
const CONTROLS = [
  one("default_transaction_read_only", "on"),
  // A trigger changes what is stored where this is set.
  { what: "effects are spoilt", settings: { "faults.spoils": "'on'" } },
];

module.exports = { CONTROLS, SETTINGS };
