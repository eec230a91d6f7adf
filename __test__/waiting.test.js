"use strict";

const fc = require("fast-check");
const { Waiting } = require("../lib/bridge/waiting");

/** Adds and takes as it is told, beside a Map that does the same. */
function sameAsMap(steps) {
  const waiting = new Waiting();
  const expected = new Map();
  for (const { adds, takes } of steps) {
    for (let added = 0; added < adds; added += 1) {
      const value = {};
      expected.set(waiting.add(value), value);
    }
    for (const share of takes) {
      const number = [...expected.keys()][Math.floor(share * expected.size)];
      expect(waiting.take(number)).toBe(expected.get(number));
      expect(waiting.take(number)).toBeUndefined();
      expected.delete(number);
    }
    expect(waiting.size).toBe(expected.size);
  }
  for (const [number, value] of expected) {
    expect(waiting.take(number)).toBe(value);
  }
  expect(waiting.size).toBe(0);
}

test("every value is taken once, by its number", () => {
  const step = fc.record({
    adds: fc.integer({ min: 0, max: 700 }),
    takes: fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { maxLength: 50 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 10 }), sameAsMap), { numRuns: 30 });
});

test("who has waited for long keeps his number", () => {
  const waiting = new Waiting();
  const long = waiting.add("long");
  for (let call = 0; call < 10_000; call += 1) {
    const number = waiting.add(call);
    expect(number).not.toBe(long);
    expect(waiting.take(number)).toBe(call);
  }
  expect(waiting.take(long)).toBe("long");
});
