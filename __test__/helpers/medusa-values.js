"use strict";

const fc = require("fast-check");

// Values for keys and their columns. Most are of a small set, so that sequences meet the same keys
// again and selectors find what they describe; some are of all kinds, and a few are refused.

const NAMES = ["a", "b", "c", "Ключ", "100% _a\\b'", "x".repeat(300)];
const ODD_NAMES = ["", " ", "a\0b", "half \ud800", "y".repeat(9000)];
const METHODS = ["POST", "GET", ""];
const PATHS = ["/store/carts/1/complete", "/Store/Carts/1/COMPLETE", "/", "100%_\\"];
const POINTS = ["started", "payment_captured", "finished"];
const CODES = [200, 404, 0, -1, 2 ** 31 - 1];
const BODIES = [{}, [], { a: 1 }, { a: 1, b: null }, [1, 2], "text", "", 0, 1.5, true, false];
const DATES = ["2020-01-01T00:00:00.000Z", "1969-07-20T20:17:40.123Z"];

/** The common value, but once in `weight + 1` times the rare one. */
const mostly = (common, rare, weight = 4) =>
  fc.oneof({ weight, arbitrary: common }, { weight: 1, arbitrary: rare });

const text = (common) => mostly(fc.constantFrom(...common), fc.string({ unit: "grapheme" }));

const json = mostly(
  fc.constantFrom(...BODIES),
  fc.jsonValue({ stringUnit: "grapheme" }).filter((value) => !trips(value)),
  1,
);

/** INTENDED: names in JSON that every object has */
function trips(value) {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.entries(value).some(([name, one]) => name in Object.prototype || trips(one))
  );
}

/** Not JSON, but turned into it by JSON.stringify(). INTENDED: JSON's null */
const almostJson = fc.constantFrom(
  { date: new Date(0), nothing: undefined, list: [undefined, NaN, -0] },
  [new Date(0), undefined, NaN],
  { toJSON: () => ({ converted: true }) },
  { big: Number.MAX_VALUE, small: Number.MIN_VALUE, deep: [[[[{}]]]] },
);

const dateSince = (year) =>
  fc.date({ min: new Date(`${year}-01-03`), max: new Date("2020-01-01"), noInvalidDate: true });
/** Since time zones have no seconds any more: `pg`, which writes Dates in local time, drops them. */
const date = mostly(fc.constantFrom(...DATES.map((iso) => new Date(iso))), dateSince("1972"), 3);
const dateText = mostly(
  fc.constantFrom(...DATES, "0001-02-03T04:05:06.007Z"),
  dateSince("0001").map((one) => one.toISOString()),
);
const time = fc.oneof(date, dateText);

const COLUMNS = {
  request_method: text(METHODS),
  request_params: mostly(json, almostJson),
  request_path: text(PATHS),
  response_code: mostly(
    fc.constantFrom(...CODES),
    fc.oneof(fc.integer(), fc.integer().map(String), fc.constantFrom(" 7 ", 7n)),
  ),
  response_body: mostly(json, almostJson),
  recovery_point: text(POINTS),
  created_at: time,
  locked_at: time,
};
const NOT_NULL = new Set(["recovery_point", "created_at"]);

/** What the database refuses, or JavaScript. */
const refused = fc.oneof(
  fc.record({ request_method: fc.constantFrom("a\0b", "\0") }),
  fc.record({ request_path: fc.constant("a\0b") }),
  fc.record({ recovery_point: fc.constantFrom(null, "a\0b") }),
  fc.record({ created_at: fc.constantFrom(null, "no time", "2024-02-30T00:00:00Z", 5e12) }),
  fc.record({ locked_at: fc.constantFrom("no time", new Date(NaN), Date.UTC(2020)) }),
  fc.record({ response_code: fc.constantFrom("abc", "", 1.5, 2 ** 31, NaN, Infinity, true) }),
  fc.record({ request_params: fc.constantFrom({ "\0": 1 }, "\0", "\ud800", { a: ["\udc00"] }) }),
  fc.record({ response_body: fc.constantFrom(circle(), { big: 1n }, 1n, [circle()]) }),
);

function circle() {
  const value = { name: "circle" };
  value.itself = value;
  return value;
}

/** What is no text, but taken for it, and properties that are no columns. */
const odd = fc.oneof(
  fc.record({ request_method: fc.constantFrom(5, true, "half \ud800") }),
  fc.record({ request_path: fc.constantFrom(-1.5, 10n) }),
  fc.record({ unknown: json, deleted_at: fc.constant(null) }),
);

function orAbsent([name, value]) {
  const absent = NOT_NULL.has(name) ? [undefined] : [undefined, null];
  return [name, mostly(value, fc.constantFrom(...absent))];
}

/** Any of the columns besides the key and its id. No more than one is refused: the order in which
 * the server looks at them is nobody's promise. */
const columns = fc
  .tuple(
    fc.record(Object.fromEntries(Object.entries(COLUMNS).map(orAbsent)), { requiredKeys: [] }),
    mostly(fc.constant({}), odd),
    mostly(fc.constant({}), refused, 9),
  )
  .map((all) => Object.assign({}, ...all));

/** A key: one of a name, or one of those that were generated last. */
const key = fc.oneof(
  { weight: 12, arbitrary: fc.record({ name: fc.constantFrom(...NAMES.slice(0, 3)) }) },
  { weight: 3, arbitrary: fc.record({ name: fc.constantFrom(...NAMES) }) },
  { weight: 4, arbitrary: fc.record({ generated: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constantFrom(...ODD_NAMES) }) },
);

module.exports = {
  BODIES,
  CODES,
  COLUMNS,
  DATES,
  METHODS,
  NAMES,
  PATHS,
  POINTS,
  circle,
  columns,
  date,
  json,
  key,
  mostly,
  text,
  time,
};
