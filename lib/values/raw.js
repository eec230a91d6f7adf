"use strict";

const { medusaError } = require("../errors/errors");
const { parameterFrom } = require("./parameters");

// TypeORM's operator `Raw`: a condition in SQL that the developer has written.

/** What the table is called in it, as TypeORM calls it (`find::selected` in src/engine/sql/find.rs). */
const TABLE = "IdempotencyKey";

/** A named parameter, as TypeORM has them: `:name`, or `:...name` for a list. Not the type of a cast. */
const PARAMETER = /(?<!:):(\.\.\.)?([A-Za-z0-9_.]+)/g;

/**
 * The condition as the engine takes it: pieces of SQL, and the values between them.
 *
 * @param {string} column
 * @param {object} operator TypeORM's
 */
function rawPredicate(column, { value, getSql, objectLiteralParameters }) {
  const name = `"${TABLE}"."${column}"`;
  const sql = getSql ? getSql(name) : value;
  if (typeof sql !== "string") {
    throw medusaError(
      "invalid_argument",
      `selector: Raw takes SQL as a string, or a function that returns it, not ${typeof sql}`,
    );
  }
  const condition = getSql ? sql : `${name} = ${sql}`;
  return {
    operator: "raw",
    operand: piecesOf(condition.toWellFormed(), objectLiteralParameters ?? {}),
  };
}

function piecesOf(sql, parameters) {
  const pieces = [];
  let end = 0;
  for (const {
    0: { length },
    1: isList,
    2: name,
    index,
  } of sql.matchAll(PARAMETER)) {
    if (Object.hasOwn(parameters, name)) {
      pieces.push({ sql: sql.slice(end, index) });
      pieces.push(...(isList ? listed(name, parameters[name]) : [valued(name, parameters[name])]));
      end = index + length;
    }
  }
  pieces.push({ sql: sql.slice(end) });
  return pieces;
}

function listed(name, values) {
  if (!Array.isArray(values)) {
    throw medusaError("invalid_argument", `selector: Raw's parameter ":...${name}" takes an array`);
  }
  return values.flatMap((value, index) => [{ sql: index ? ", " : "" }, valued(name, value)]);
}

function valued(name, value) {
  if (typeof value === "function") {
    throw medusaError("invalid_argument", `selector: Raw's parameter ":${name}" is a function`);
  }
  return { value: textOf(parameterFrom(value)) };
}

/** A parameter as one text: bytes as bytea is written, a list as an array. */
function textOf(parameter) {
  if (ArrayBuffer.isView(parameter)) {
    return `\\x${Buffer.from(parameter).toString("hex")}`;
  }
  return (parameter?.literal ?? parameter)?.toWellFormed() ?? null;
}

module.exports = { rawPredicate };
