"use strict";

const fc = require("fast-check");
const { refused, selector } = require("./medusa-selectors");
const { FAILURES } = require("./medusa-sequence");
const values = require("./medusa-values");

// Commands are data: what fast-check prints of a sequence that failed is what was done.

const { COLUMNS, columns, key, mostly, text } = values;
const ISOLATIONS = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/** INTENDED: a header that is no text of the database's */
const headerKey = fc.oneof(
  { weight: 4, arbitrary: key.filter(({ name }) => !name?.includes("\0")) },
  { weight: 1, arbitrary: fc.constantFrom("", null, undefined) },
);

const through = fc.constantFrom(undefined, undefined, "nothing", "root");
const failure = fc.constantFrom(...Object.keys(FAILURES));
const isolation = fc.constantFrom(undefined, undefined, ...ISOLATIONS, "serializable");
const strict = fc.boolean();

const command = (kind, fields) => fc.record({ kind: fc.constant(kind), ...fields });

const create = command("create", {
  key: mostly(key, fc.constantFrom(undefined, null), 2),
  id: mostly(fc.constant(undefined), fc.constantFrom("x", "y", "z")),
  columns,
  through,
});
const initializeRequest = command("initializeRequest", {
  key: headerKey,
  request: fc.oneof(
    fc.tuple(text(values.METHODS), COLUMNS.request_params, text(values.PATHS)),
    fc.constantFrom([], [undefined, null, null]),
  ),
  refused: mostly(
    fc.constant(undefined),
    fc.constantFrom(["POST", values.circle(), "/"], ["POST", {}, "\0"], ["POST", 1n]),
  ),
  through,
});
const retrieve = command("retrieve", { key, through });
const update = command("update", {
  key,
  columns,
  rename: mostly(fc.constant(undefined), key),
  through,
});
const lock = command("lock", { key, through });
const shouldRetry = command("shouldRetry", {
  error: fc.oneof(
    fc.constantFrom({ code: "40001" }, { code: "40P01" }, { code: 40001 }, { code: ["40001"] }),
    fc.anything(),
  ),
});
const effect = command("effect", { name: fc.constantFrom("paid", "shipped") });
const failingQuery = command("failingQuery", {});

const outcome = fc.oneof(
  fc.record({ recovery_point: text(values.POINTS).filter(Boolean) }),
  fc.record(
    {
      recovery_point: fc.constantFrom(null, undefined),
      response_code: mostly(COLUMNS.response_code, fc.constantFrom(null, "abc", 1.5)),
      response_body: mostly(COLUMNS.response_body, fc.constantFrom(null, { big: 1n }, "\0")),
    },
    { requiredKeys: [] },
  ),
  fc.record({ recovery_point: fc.constant("paid"), response_code: fc.constant("ignored") }),
);
const ends = (returns) => mostly(fc.record({ returns }), fc.record({ throws: failure }), 2);

const select = mostly(
  command("select", { selector, among: fc.option(key, { nil: undefined }), through }),
  command("select", { selector: refused, through }),
  12,
);

const single = fc.oneof(
  { weight: 5, arbitrary: create },
  { weight: 4, arbitrary: initializeRequest },
  { weight: 2, arbitrary: retrieve },
  { weight: 5, arbitrary: update },
  { weight: 2, arbitrary: lock },
  { weight: 1, arbitrary: shouldRetry },
  { weight: 4, arbitrary: select },
);

/**
 * The commands that have steps of their own.
 *
 * @param {boolean} isMixed whether the shared service is also called beside a transaction
 */
function nesting(isMixed) {
  return fc.letrec((tie) => ({
    steps: fc.array(tie("inner"), { maxLength: 4 }),
    workStage: command("workStage", {
      key,
      steps: mostly(fc.constant([]), tie("steps"), 1),
      strict,
      ends: ends(outcome),
      sync: fc.boolean(),
      through,
    }),
    atomicPhase: command("atomicPhase", {
      steps: tie("steps"),
      strict,
      isolation,
      ends: ends(fc.constantFrom("done", undefined, null, 0)),
      handler: fc.option(ends(fc.constantFrom("handled", undefined, null)), { nil: undefined }),
      dontFail: fc.constantFrom(undefined, undefined, true, false, 1, "", {}),
    }),
    transaction: command("transaction", {
      isolation,
      steps: fc.array(tie("inner"), { minLength: 1, maxLength: 6 }),
      strict,
      fails: mostly(fc.constant(undefined), failure, 3),
    }),
    beside: command("beside", { step: tie("step") }),
    step: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      { weight: 6, arbitrary: single },
      { weight: 4, arbitrary: tie("workStage") },
      { weight: 2, arbitrary: tie("atomicPhase") },
      { weight: 3, arbitrary: tie("transaction") },
    ),
    inner: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      { weight: 9, arbitrary: single },
      { weight: 4, arbitrary: effect },
      { weight: 1, arbitrary: failingQuery },
      { weight: 4, arbitrary: tie("workStage") },
      { weight: 2, arbitrary: tie("atomicPhase") },
      { weight: 2, arbitrary: tie("transaction") },
      { weight: isMixed ? 3 : 0, arbitrary: tie("beside") },
    ),
  }));
}

/** Some keys to begin with, then commands. */
function sequence(command, maxLength) {
  return fc
    .tuple(fc.array(create, { maxLength: 3 }), fc.array(command, { minLength: 1, maxLength }))
    .map(([first, rest]) => [...first, ...rest]);
}

const bound = nesting(false);
const mixed = nesting(true);

module.exports = {
  unboundSequence: sequence(fc.oneof(single, single, bound.workStage, bound.atomicPhase), 8),
  boundSequence: sequence(bound.transaction, 2),
  mixedSequence: sequence(mixed.step, 5),
  selections: fc
    .tuple(
      fc.array(create, { minLength: 2, maxLength: 4 }),
      fc.array(select, { minLength: 2, maxLength: 8 }),
    )
    .map(([keys, selects]) => [...keys, ...selects]),
};
