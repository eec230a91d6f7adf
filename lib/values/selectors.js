"use strict";

const { isDate } = require("node:util").types;
const { medusaError } = require("../errors/errors");
const { COLUMNS, JSON_COLUMNS, textFor } = require("./keys");
const { rawPredicate } = require("./raw");

/** Medusa's operators as the engine's; some of them build a pattern. */
const OPERATORS = {
  lt: (column, value) => compare("lessThan", column, value),
  gt: (column, value) => compare("moreThan", column, value),
  lte: (column, value) => compare("lessThanOrEqual", column, value),
  gte: (column, value) => compare("moreThanOrEqual", column, value),
  contains: (column, value) => compare("ilike", column, `%${String(value)}%`),
  starts_with: (column, value) => compare("ilike", column, `${String(value)}%`),
  ends_with: (column, value) => compare("ilike", column, `%${String(value)}`),
};

/** TypeORM's operators that take one value and have the same name in the engine. */
const COMPARISONS = new Set([
  "equal",
  "lessThan",
  "lessThanOrEqual",
  "moreThan",
  "moreThanOrEqual",
  "like",
  "ilike",
  "jsonContains",
]);

/** Operators whose operand is text even on a JSON column. */
const PATTERNS = new Set(["like", "ilike"]);

/**
 * Translates a selector for the engine: alternatives, each a list of conditions.
 *
 * @param {object | object[]} selector
 */
function alternativesOf(selector) {
  const alternatives = Array.isArray(selector) ? selector : [selector];
  return alternatives.map((alternative) => {
    if (typeof alternative !== "object" || alternative === null) {
      throw medusaError("invalid_argument", "a selector is an object, or an array of objects");
    }
    return Object.entries(alternative)
      .filter(([, value]) => value !== undefined)
      .map(([column, value]) => ({
        column: column.toWellFormed(),
        predicate: predicateOf(column, value),
      }));
  });
}

function predicateOf(column, value) {
  if (!COLUMNS.includes(column)) {
    // The engine refuses an unknown column by its name, whatever the predicate.
    return { operator: "isNull" };
  }
  if (value === null) {
    return { operator: "isNull" };
  }
  if (isFindOperator(value)) {
    return fromFindOperator(column, value);
  }
  if (Array.isArray(value)) {
    return { operator: "in", operand: operandsOf("in", column, value) };
  }
  if (typeof value === "object" && !isDate(value)) {
    return fromObject(column, value);
  }
  return compare("equal", column, value);
}

function fromObject(column, value) {
  const names = Object.keys(value);
  const unknown = names.filter((name) => !Object.hasOwn(OPERATORS, name));
  if (names.length > 0 && unknown.length === 0) {
    const all = names.filter((name) => value[name] !== undefined);
    return conjunction(all.map((name) => OPERATORS[name](column, value[name])));
  }
  if (JSON_COLUMNS.has(column)) {
    return compare("equal", column, value);
  }
  const known = Object.keys(OPERATORS).join(", ");
  throw medusaError(
    "invalid_argument",
    `selector: "${unknown.join('", "')}" is no operator for ${column}; there are ${known}`,
  );
}

const FIND_OPERATORS = new Set([Symbol.for("FindOperator"), Symbol.for("EqualOperator")]);

/** Works across realms and copies of TypeORM, as TypeORM's own check does. */
function isFindOperator(value) {
  return typeof value === "object" && FIND_OPERATORS.has(value["@instanceof"]);
}

function fromFindOperator(column, operator) {
  const { type, value, child } = operator;
  if (child?.type === "raw" && type !== "not") {
    throw medusaError("invalid_argument", `selector: Raw has no place inside of "${type}"`);
  }
  if (COMPARISONS.has(type)) {
    return child ? predicateOf(column, child) : compare(type, column, value);
  }
  switch (type) {
    case "not":
      return {
        operator: "not",
        operand: child ? predicateOf(column, child) : compare("equal", column, value),
      };
    case "in":
    case "any":
      return { operator: "in", operand: operandsOf(type, column, value) };
    case "between":
      return { operator: "between", operand: operandsOf(type, column, value) };
    case "isNull":
      return { operator: "isNull" };
    case "raw":
      return rawPredicate(column, operator);
    case "and":
      return conjunction(listOf(type, value).map((one) => predicateOf(column, one)));
    default:
      throw medusaError(
        "invalid_argument",
        `selector: TypeORM's operator "${type}" is not supported`,
      );
  }
}

function operandsOf(type, column, values) {
  return listOf(type, values).map((value) => operandOf(column, value));
}

/** Refuses `In(undefined)`, which TypeORM makes without a word. */
function listOf(type, values) {
  if (!Array.isArray(values)) {
    throw medusaError(
      "invalid_argument",
      `selector: TypeORM's operator "${type}" takes an array, not ${typeof values}`,
    );
  }
  return values;
}

function conjunction(predicates) {
  return predicates.length === 1 ? predicates[0] : { operator: "and", operand: predicates };
}

function compare(operator, column, value) {
  const operand = PATTERNS.has(operator)
    ? { text: String(value).toWellFormed() }
    : operandOf(column, value);
  return { operator, operand };
}

function operandOf(column, value) {
  return { text: textFor(column, value) ?? null, date: isDate(value) };
}

module.exports = { alternativesOf };
