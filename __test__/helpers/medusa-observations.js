"use strict";

const { isDate } = require("node:util").types;

const TEXTS = ["request_method", "request_path", "recovery_point"];
const TIMES = ["created_at", "locked_at"];
const JSONS = ["request_params", "response_body"];
const COLUMNS = ["id", "idempotency_key", "response_code", ...TEXTS, ...TIMES, ...JSONS];

const GENERATED = [
  ["id", /ikey_[0-9A-HJKMNP-TV-Z]{26}/g],
  ["key", /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/g],
];
/** Their messages quote a value as the driver wrote it, or types that another statement infers. */
const QUOTING = new Set(["22007", "22008", "42883"]);
const DETAILS = ["name", "type", "code", "schema", "table", "column", "dataType", "constraint"];
/** INTENDED: Medusa's repeat the selector with its values, which may be a client's; ours name its columns. */
const CONSTRAINTS =
  /(with|for) constraints:? (on )?[^]*?( was not found|\. There should only be one\.)$/;
const UNKNOWN_COLUMN = /^Property ".*" was not found in "IdempotencyKey"/;
/** Further back than the machine's clock and the server's may differ, nearer than any given time. */
const NOW = 3_600_000;

/**
 * Makes what one subject does comparable with what another does: what is generated becomes its place
 * in the order of appearance, the present becomes "now".
 */
class Observer {
  #subject;
  #places = new Map();

  constructor(subject) {
    this.#subject = subject;
  }

  text(value) {
    // Half of a surrogate pair is stored as U+FFFD; Medusa's result has it as it was given.
    let text = String(value).toWellFormed();
    for (const [what, pattern] of GENERATED) {
      text = text.replace(pattern, (found) => this.#place(what, found));
    }
    return text;
  }

  #place(what, found) {
    if (!this.#places.has(found)) {
      this.#places.set(found, `<${what} ${this.#places.size}>`);
    }
    return this.#places.get(found);
  }

  /**
   * A key that a method resolved to.
   *
   * @param {object} key
   * @param {object} [given] the columns that the caller gave
   */
  key(key, given = {}) {
    if (!this.#subject.isMedusa) {
      expectShape(key);
    }
    // Medusa's key has `undefined` where that was given, whatever is stored.
    const columns = COLUMNS.filter((column) => !(column in given) || given[column] !== undefined);
    const seen = Object.fromEntries(columns.map((name) => [name, this.#value(name, key[name])]));
    const own = JSONS.filter((name) => isObject(given[name]) && given[name] === key[name]);
    return { key: seen, own };
  }

  #value(column, value) {
    if (value === null || value === undefined) {
      return null;
    }
    if (TIMES.includes(column)) {
      return time(value);
    }
    if (JSONS.includes(column)) {
      return canonical(JSON.parse(JSON.stringify(value) ?? "null"));
    }
    return column === "response_code" ? Number(value) : this.text(value);
  }

  error(error) {
    if (!(error instanceof Error)) {
      return { thrown: error };
    }
    if (UNKNOWN_COLUMN.test(error.message)) {
      return { unknownColumn: error.message };
    }
    const details = DETAILS.map((name) => [name, error[name]]);
    const seen = Object.fromEntries(details.filter(([, value]) => value !== undefined));
    if (!QUOTING.has(error.code)) {
      seen.message = this.text(error.message.replace(CONSTRAINTS, "$1 constraints$3"));
    }
    if (error.code === "23505") {
      seen.detail = this.text(error.detail);
    }
    if (error.type && !isDate(error.date)) {
      throw new Error(`a MedusaError without a date: ${error.message}`);
    }
    return { error: seen };
  }

  /** All that is stored. */
  async tables() {
    const { pool } = this.#subject.database;
    const keys = await pool.query(
      `SELECT *, request_params::text AS request_params, response_body::text AS response_body
       FROM idempotency_key`,
    );
    const effects = await pool.query("SELECT name FROM effect ORDER BY number");
    const rows = keys.rows.map((row) => JSON.stringify(this.#row(row))).sort();
    return { keys: rows.map((row) => JSON.parse(row)), effects: effects.rows.map(nameOf) };
  }

  #row(row) {
    const entries = COLUMNS.map((name) => [name, row[name]]);
    return Object.fromEntries(
      entries.map(([name, value]) => [
        name,
        // As text, so that JSON's null is not SQL's.
        JSONS.includes(name) ? value : this.#value(name, value),
      ]),
    );
  }
}

/** What holds of every key that a method of ours resolves to. */
function expectShape(key) {
  expect(Object.getPrototypeOf(key)).toBe(Object.prototype);
  expect(Object.keys(key).sort()).toEqual([...COLUMNS].sort());
  expect(Object.values(key)).not.toContain(undefined);
  expect(key.created_at).toBeInstanceOf(Date);
  expect(key.locked_at === null || key.locked_at instanceof Date).toBe(true);
}

/** A time as Date, or as text where Medusa's result has what was given. */
function time(value) {
  const milliseconds = new Date(value).getTime();
  return Math.abs(milliseconds - Date.now()) < NOW ? "now" : milliseconds;
}

/** JSON whose objects' order, which jsonb does not keep, does not tell them apart. */
function canonical(json) {
  if (!isObject(json)) {
    return json;
  }
  if (Array.isArray(json)) {
    return json.map(canonical);
  }
  const entries = Object.entries(json).map(([name, value]) => [name, canonical(value)]);
  return Object.fromEntries(entries.sort());
}

function isObject(value) {
  return typeof value === "object" && value !== null;
}

function nameOf({ name }) {
  return name;
}

module.exports = { COLUMNS, JSONS, Observer };
