"use strict";

// The short form of the suite of faults; `npm run test:faults` is the full one.

const { PARTS, requireFailure } = require("../scripts/faults");

jest.setTimeout(600_000);

const silent = { full: false, log: () => {} };

describe.each(PARTS.filter(({ fullOnly }) => !fullOnly))("$title", (part) => {
  test("what is broken on purpose is noticed", async () => {
    await requireFailure(part, silent);
  });

  test("what is promised holds", async () => {
    await part.run({ ...silent, broken: false });
  });
});
