"use strict";

const fc = require("fast-check");
const values = require("./medusa-values");

// Selectors in all the forms that Medusa's service understands as it is meant to. TypeORM's
// operators are described, as `{ operator, operands }`, and made when the selector is used.

const { mostly } = values;
const IDS = ["x", "y", "z"];
const WORDS = ["a", "store", "COMP", "/carts/1/complete", "%", "_", "\\_", "100%", "", "/"];
const PARTS = ["%", "_", "\\_", "100%", ""];
const RANGES = ["gt", "gte", "lt", "lte"];

const operator = (name, ...operands) =>
  fc.record({ operator: fc.constant(name), operands: fc.tuple(...operands) });

/** One or more of Medusa's operators at once. */
function ranges(operand, names = RANGES) {
  const fields = Object.fromEntries(names.map((name) => [name, operand]));
  return fc
    .record(fields, { requiredKeys: [] })
    .filter((condition) => Object.keys(condition).length > 0);
}

/** TypeORM's operators that take any type's values. */
function operators(value) {
  const several = fc.array(value, { maxLength: 3 });
  const simple = fc.oneof(
    operator("Equal", value),
    operator("In", several),
    operator("Between", value, value),
    ...["LessThan", "LessThanOrEqual", "MoreThan", "MoreThanOrEqual"].map((name) =>
      operator(name, value),
    ),
    operator("IsNull"),
  );
  return fc.oneof(
    simple,
    operator("Not", value),
    operator("Not", simple),
    operator("Not", operator("Not", simple)),
    operator("And", simple, operator("Not", simple)),
  );
}

/**
 * SQL of the developer's own, with a value. Its name is another one each time: in TypeORM a name has one value in all
 * of a selector. INTENDED: an OR without parentheses, which in TypeORM also takes in what stands beside it.
 */
const raw = (value, sqlOf) =>
  fc.tuple(value, fc.nat()).map(([one, number]) => ({
    operator: "Raw",
    operands: [(column) => sqlOf(column, `p${number}`), { [`p${number}`]: one }],
  }));
const raws = (value) => {
  const simple = fc.oneof(
    raw(value, (column, name) => `${column} = :${name}`),
    raw(value, (column, name) => `(:${name} < ${column} OR ${column} IS NULL)`),
    raw(
      fc.array(value, { minLength: 1, maxLength: 3 }),
      (column, name) => `${column} IN (:...${name})`,
    ),
  );
  return fc.oneof(simple, operator("Not", simple), operator("And", simple, simple));
};

const patterns = (word) =>
  fc.oneof(
    operator("Like", word),
    operator(
      "ILike",
      word.map((one) => `%${one}%`),
    ),
    operator("Not", operator("ILike", word)),
  );

/**
 * @param {string[]} common what the column is likely to hold
 * @param {string[]} [bounds] what to compare with and search for: nothing whose place among generated
 *   values, or in them, is a matter of luck
 */
function ofText(common, bounds = common, words = WORDS) {
  const value = mostly(values.text(common), fc.constantFrom(5, "half \ud800"), 9);
  const bound = fc.constantFrom(...bounds);
  const word = fc.constantFrom(...words);
  return fc.oneof(
    { weight: 4, arbitrary: value },
    { weight: 1, arbitrary: fc.constantFrom(null, undefined) },
    { weight: 2, arbitrary: fc.array(mostly(value, fc.constant(null), 9), { maxLength: 3 }) },
    { weight: 1, arbitrary: ranges(bound) },
    { weight: 2, arbitrary: ranges(word, ["contains", "starts_with", "ends_with"]) },
    { weight: 1, arbitrary: operators(bound) },
    { weight: 2, arbitrary: operator("Not", value) },
    { weight: 1, arbitrary: operator("Any", fc.array(value, { maxLength: 3 })) },
    { weight: 1, arbitrary: patterns(word) },
    { weight: 1, arbitrary: raws(bound) },
  );
}

const code = mostly(fc.constantFrom(...values.CODES, "200"), fc.integer());
const ofNumber = fc.oneof(
  code,
  fc.constantFrom(null, undefined),
  fc.array(mostly(code, fc.constant(null), 9), { maxLength: 3 }),
  ranges(code),
  operators(code),
  raws(code),
);

// INTENDED: a Date in a selector
const text = fc.constantFrom(...values.DATES, "2010-01-01T00:00:00Z", "infinity");
const point = fc.oneof(text, values.date);
const ofTime = fc.oneof(
  operator("Raw", fc.constant("now()")),
  operator(
    "Raw",
    fc.constant((column) => `${column} > NOW() - '1 day'::interval`),
  ),
  raws(text),
  text,
  fc.constantFrom(null, undefined),
  fc.array(text, { maxLength: 3 }),
  ranges(point),
  operators(point),
);

// INTENDED: JSON in a selector
const scalar = fc.oneof(fc.integer(), fc.boolean(), fc.constantFrom(0, 1.5));
const member = fc.oneof(scalar, fc.constantFrom(null, "text", "a"));
const flat = fc.oneof(
  fc.constantFrom({ a: 1 }, { a: 1, b: null }),
  fc.dictionary(fc.constantFrom("a", "b", "c d"), member, { minKeys: 1 }),
);
const whole = fc
  .oneof(fc.constantFrom(...values.BODIES), values.json)
  .filter((value) => typeof value === "object" && !Array.isArray(value));
const ofJson = fc.oneof(
  scalar,
  flat,
  fc.constantFrom(null, undefined),
  fc.array(fc.oneof(scalar, flat), { maxLength: 3 }),
  ranges(fc.oneof(scalar, flat)),
  operator("Equal", whole),
  operator("Not", operator("Equal", whole)),
  operator("In", fc.array(fc.oneof(scalar, whole), { maxLength: 3 })),
  operators(scalar),
);

const conditions = fc.record(
  {
    id: ofText(IDS, ["", "a", ...IDS], [...PARTS, "IKEY"]),
    idempotency_key: ofText(values.NAMES, ["", "Ключ", "x"], [...PARTS, "клю"]),
    created_at: ofTime,
    locked_at: ofTime,
    request_method: ofText(values.METHODS),
    request_params: ofJson,
    request_path: ofText(values.PATHS),
    response_code: ofNumber,
    response_body: ofJson,
    recovery_point: ofText(values.POINTS),
  },
  { requiredKeys: [] },
);
/** Few at once: the more there are, the less is found. */
const alternative = conditions.chain((all) =>
  fc
    .shuffledSubarray(Object.keys(all), { maxLength: Math.min(2, Object.keys(all).length) })
    .map((names) => Object.fromEntries(names.map((name) => [name, all[name]]))),
);
/** INTENDED: an alternative without a condition */
const condition = alternative.filter((one) =>
  Object.values(one).some((value) => value !== undefined),
);
/** Values that the database refuses, in the one condition that there is: it is looked at in any case. */
const refused = fc.oneof(
  fc.record({ response_code: fc.constantFrom("abc", "", 1.5, 2 ** 31, true, [200, "abc"]) }),
  fc.record({ response_code: operator("Not", fc.constantFrom("abc", NaN)) }),
  fc.record({ response_code: fc.constantFrom({ contains: "2" }, { gt: 0, lt: "abc" }) }),
  fc.record({ request_params: fc.constantFrom({ a: "half \ud800" }, { "\0": 1 }) }),
  fc.record({ response_body: fc.constantFrom({ ends_with: "a" }, [{ a: "\0" }]) }),
  fc.record({ locked_at: fc.constant({ starts_with: "2" }) }),
  fc.record({ id: fc.constantFrom("a\0b", ["a", "\0"], { gt: "\0" }, { contains: "\0" }) }),
);
const unknown = fc.record({
  metadata: fc.constantFrom("a", null, 5, ["a"]),
  recovery_point: fc.constant("started"),
});

const selector = fc.oneof(
  { weight: 12, arbitrary: alternative },
  { weight: 4, arbitrary: fc.array(condition, { maxLength: 3 }) },
  { weight: 1, arbitrary: unknown },
);

module.exports = { refused, selector };
