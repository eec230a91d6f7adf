"use strict";

// Values of any type, as a careless or malicious caller passes them.

const fc = require("fast-check");
const { COLUMNS } = require("../../lib/values/keys");

/** What a hostile value throws: a call may reject with it, since it is the caller's own. */
class Trap extends Error {}

/** Stands in what a request has, and must be in no message: clients and logs see those. */
const SECRET = "hunter2-s3cret";

function trap() {
  throw new Trap(SECRET);
}

/** A value that is made when it is needed: fast-check itself would fall into the traps of some. */
class Boxed {
  constructor(open, shown) {
    this.open = open;
    this.shown = shown;
  }

  /** Makes another value of it. */
  as(change, shown = this.shown) {
    return new Boxed(() => change(this.open()), shown);
  }

  [fc.toStringMethod]() {
    return typeof this.shown === "function" ? this.shown() : this.shown;
  }
}

const MEGABYTE = 2 ** 20;
/** The names that calls look at, and some that other code takes for granted. */
const NAMES = [
  ...COLUMNS,
  "key",
  "method",
  "params",
  "path",
  "body",
  "then",
  "code",
  "toJSON",
  "toString",
  "constructor",
  "__proto__",
  "@instanceof",
  "queryRunner",
  "olderThan",
];

/** NUL, halves of surrogate pairs, quotes, and what SQL, JSON and shells read as their own. */
const UNITS = [
  "\0",
  "\ud800",
  "\udfff",
  "😀",
  "é",
  "表",
  "'",
  '"',
  "\\",
  "$1",
  "$$",
  "--",
  "/*",
  ";",
  "\r\n",
  "%",
  "_",
  "{",
  "}",
  ",",
  "\u2028",
  "\ufeff",
  " ",
  "a",
  "NULL",
  "finished",
];

const texts = () =>
  fc.oneof(
    { weight: 4, arbitrary: fc.string({ unit: fc.constantFrom(...UNITS), maxLength: 12 }) },
    { weight: 2, arbitrary: fc.string({ unit: "binary", maxLength: 20 }) },
    { weight: 2, arbitrary: fc.constantFrom("started", "finished", "infinity", "now", "") },
    { weight: 1, arbitrary: fc.constantFrom("'", "\\", "x", "\ud800", "é").map(long) },
  );

function long(unit) {
  return unit.repeat(MEGABYTE / unit.length);
}

/** Objects and arrays as deep as that; JSON.parse reads them from a body of some 100 kB. */
function nested(depth) {
  let value = { secret: SECRET };
  for (let level = 0; level < depth; level += 1) {
    value = level % 2 ? [value] : { a: value };
  }
  return value;
}

function cyclic(name) {
  const value = { secret: SECRET };
  value[name] = [value];
  return value;
}

/** A Proxy that throws in one of its traps. */
function trapped(handler) {
  return new Proxy({ idempotency_key: "k", secret: SECRET }, { [handler]: trap });
}

function revoked() {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function getterOf(name) {
  return Object.defineProperty({ secret: SECRET }, name, { enumerable: true, get: trap });
}

/** As JSON.parse makes it: an own property, where an assignment would change the prototype. */
function polluting(name) {
  return JSON.parse(`{"${name}":{"polluted":"yes","idempotency_key":"${SECRET}","${name}":{}}}`);
}

const HANDLERS = ["get", "has", "ownKeys", "getPrototypeOf", "getOwnPropertyDescriptor", "set"];

/** One of some values, each with how it is shown. */
function made(what, make, inputs) {
  const boxes = inputs.map((input) => new Boxed(() => make(input), `${what}(${String(input)})`));
  return fc.constantFrom(...boxes);
}

const ODDITIES = {
  "a symbol": () => Symbol("secret"),
  "a registered symbol": () => Symbol.for("FindOperator"),
  NaN: () => NaN,
  "-0": () => -0,
  Infinity: () => Infinity,
  "2 ** 53": () => 2 ** 53,
  "1n": () => 1n,
  "2n ** 80n": () => 2n ** 80n,
  "no date": () => new Date(NaN),
  "the epoch": () => new Date(0),
  "the last date": () => new Date(8.64e15),
  "a regular expression": () => /x/,
  "a Map": () => new Map([["a", SECRET]]),
  bytes: () => new Uint8Array([0, 255]),
  "a WeakMap": () => new WeakMap(),
  "a frozen object": () => Object.freeze({}),
  "an object without prototype": () => Object.create(null),
  "a revoked Proxy": revoked,
  "a function": () => () => {},
  "a function that returns text": () => () => SECRET,
  "an async function": () => async () => ({ response_body: SECRET }),
  "a function that throws": () => trap,
  "a class": () => class Strange {},
  "a thenable": () => ({ then: (resolve) => resolve(SECRET) }),
  "a thenable that rejects": () => ({ then: (_, reject) => reject(new Trap(SECRET)) }),
  "a thenable that throws": () => ({ then: trap }),
  "a toJSON that throws": () => ({ toJSON: trap }),
  "a toJSON of nothing": () => ({ toJSON: () => undefined }),
  "no primitive": () => ({ toString: trap, valueOf: trap, [Symbol.toPrimitive]: trap }),
  "a toPostgres that throws": () => ({ toPostgres: trap }),
  "a toPostgres of a symbol": () => ({ toPostgres: () => Symbol("none") }),
  "an inspection that throws": () => ({ [Symbol.for("nodejs.util.inspect.custom")]: trap }),
  "a toStringTag that throws": () => Object.defineProperty({}, Symbol.toStringTag, { get: trap }),
  "an In of no list": () => ({ "@instanceof": Symbol.for("FindOperator"), type: "in" }),
};

const strange = () =>
  fc.oneof(
    made("getterOf", getterOf, NAMES),
    made("cyclic", cyclic, NAMES),
    made("trapped", trapped, HANDLERS),
    made("polluting", polluting, ["__proto__", "constructor", "prototype", "toString"]),
    made("nested", nested, [10, 200, 20_000]),
    fc.constantFrom(...Object.entries(ODDITIES).map(([shown, make]) => new Boxed(make, shown))),
  );

const anything = () =>
  fc.anything({
    key: fc.oneof(fc.constantFrom(...NAMES), texts()),
    values: [texts(), fc.double(), fc.integer(), fc.boolean(), fc.constantFrom(null, undefined)],
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withObjectString: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
    maxDepth: 3,
  });

const boxed = (value) =>
  new Boxed(
    () => value,
    () => fc.stringify(value).slice(0, 500),
  );

/** Any value at all. */
const hostile = () => fc.oneof(texts().map(boxed), strange(), anything().map(boxed));

/** What is a client's; messages name keys, options and recovery points. */
const CONTENTS = /^(request_|response_body|method|path|params|body)/;
const contents = () =>
  fc.oneof(
    { weight: 1, arbitrary: fc.constant(SECRET).map(boxed) },
    { weight: 4, arbitrary: hostile() },
  );

/** An object of the right names, of which each may be missing or have any value. */
function hostileRecord(names) {
  const values = names.map((name) => [name, CONTENTS.test(name) ? contents() : hostile()]);
  const record = fc.record(Object.fromEntries(values), { requiredKeys: [] });
  return record.map(
    (boxes) =>
      new Boxed(
        () => Object.fromEntries(Object.entries(boxes).map(([name, box]) => [name, box.open()])),
        () => fc.stringify({ ...boxes }),
      ),
  );
}

function hostileList(values) {
  return fc.array(values, { maxLength: 3 }).map(
    (boxes) =>
      new Boxed(
        () => boxes.map((box) => box.open()),
        () => fc.stringify(boxes),
      ),
  );
}

/** A function that returns what a box has. */
function hostileFunction(values) {
  return values.map((box) =>
    box.as(
      (value) => () => value,
      () => `() => ${fc.stringify(box)}`,
    ),
  );
}

module.exports = {
  Boxed,
  SECRET,
  Trap,
  boxed,
  hostile,
  hostileFunction,
  hostileList,
  hostileRecord,
  texts,
};
