"use strict";

// The faults of the part failing-tables, as data.

/**
 * @typedef {object} Fault
 * @property {string} what
 * @property {string} code the SQLSTATE of the calls that are refused
 * @property {string} fail SQL that makes the tables refuse rows, on an own schema
 * @property {string} heal SQL after which they do not any more
 * @property {"all" | "bad" | "none"} refuses which keys cannot be inserted: those of the path /bad, say
 * @property {boolean} [updates] whether the result of a stage cannot be stored either, for /bad and /begun
 * @property {boolean} [isHalf] for a control: the work of a stage is done outside of its transaction
 */

/** Of /begun the result is refused, not the attempt: so the stage has done its work by then. */
const isBad = (row) =>
  `(${row}.request_path = '/bad' OR ${row}.request_path = '/begun' AND ${row}.response_code > 0)`;

/** A trigger that raises an error for a row of which a condition is true. */
function raising(code, { when = "true", kind = "TRIGGER refuse BEFORE", options = "" } = {}) {
  return {
    code,
    fail: `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''refused'' USING ERRCODE = ''${code}''; END';
      CREATE ${kind} INSERT OR UPDATE ON idempotency_key ${options} FOR EACH ROW
        WHEN (${when}) EXECUTE FUNCTION refuse()`,
    heal: "DROP TRIGGER refuse ON idempotency_key",
    refuses: when === "true" ? "all" : "bad",
    updates: true,
  };
}

const ofBad = { when: isBad("NEW") };

/** @type {Fault[]} */
const FAULTS = [
  // Raised by a trigger: a disk that is really full is a small file system, and nobody but root may mount one.
  { what: "a full disk", ...raising("53100") },
  { what: "a server without memory", ...raising("53200") },
  { what: "a trigger that raises", ...raising("P0001", ofBad) },
  { what: "a trigger that raises for all", ...raising("P0001") },
  { what: "a serialization failure each time", ...raising("40001", ofBad) },
  {
    what: "a constraint that is checked at the commit",
    ...raising("23001", {
      ...ofBad,
      kind: "CONSTRAINT TRIGGER refuse AFTER",
      options: "DEFERRABLE INITIALLY DEFERRED",
    }),
  },
  {
    what: "a CHECK constraint",
    code: "23514",
    fail: `ALTER TABLE idempotency_key ADD CONSTRAINT own CHECK (${isBad("idempotency_key")} IS NOT TRUE) NOT VALID`,
    heal: "ALTER TABLE idempotency_key DROP CONSTRAINT own",
    refuses: "bad",
    updates: true,
  },
  {
    what: "a new column that is NOT NULL",
    code: "23502",
    fail: `ALTER TABLE idempotency_key ADD COLUMN shop text NOT NULL DEFAULT 'one';
      ALTER TABLE idempotency_key ALTER COLUMN shop DROP DEFAULT`,
    heal: "ALTER TABLE idempotency_key ALTER COLUMN shop SET DEFAULT 'one'",
    refuses: "all",
  },
  {
    what: "a unique index",
    code: "23505",
    fail: `INSERT INTO idempotency_key (id, idempotency_key, request_path)
        VALUES ('of the fault', 'of the fault', '/bad');
      CREATE UNIQUE INDEX own ON idempotency_key (request_path) WHERE request_path = '/bad'`,
    heal: "DROP INDEX own",
    refuses: "bad",
  },
  {
    what: "an exclusion constraint",
    code: "23P01",
    fail: `INSERT INTO idempotency_key (id, idempotency_key, request_path)
        VALUES ('of the fault', 'of the fault', '/bad');
      ALTER TABLE idempotency_key ADD CONSTRAINT own
        EXCLUDE (request_path WITH =) WHERE (request_path = '/bad')`,
    heal: "ALTER TABLE idempotency_key DROP CONSTRAINT own",
    refuses: "bad",
  },
  {
    what: "a table of the stages' work",
    code: "23514",
    fail: "ALTER TABLE effect ADD CONSTRAINT own CHECK (false)",
    heal: "ALTER TABLE effect DROP CONSTRAINT own",
    refuses: "none",
    updates: true,
  },
];

/** @type {Fault[]} */
const CONTROLS = [
  { what: "a cause that does not go away", ...raising("P0001", ofBad), heal: "SELECT" },
  { what: "others' rows that are refused", ...raising("P0001"), refuses: "bad" },
  { what: "another code", ...raising("P0001", ofBad), code: "23514" },
  { what: "work that is half done", ...raising("P0001", ofBad), isHalf: true },
];

module.exports = { CONTROLS, FAULTS };
