"use strict";

const fc = require("fast-check");
const { eventually } = require("./helpers/flows");
const sequences = require("./helpers/medusa-commands");
const { Sequence } = require("./helpers/medusa-sequence");
const { clear, useSubjects } = require("./helpers/medusa-subjects");
const { typeorm } = require("./helpers/medusa-v1");
const { oneAtATime } = require("./helpers/one-at-a-time");

// Medusa's own service, run for real, is what this package's is compared with, in mode "medusa":
// sequences of calls that are generated have to come to the same on both, but for what is listed as intended; where a
// helper says INTENDED, it keeps the sequences from running into such a difference.
// FC_RUNS and FC_SEED are there to look further than `npm test` has the time to.

const subjects = useSubjects();

const RUNS = process.env.FC_RUNS && Number(process.env.FC_RUNS);
/** The same sequences each time, so that a failure is one of the change that was made. */
const SEED = Number(process.env.FC_SEED ?? 1);
/** For all runs and for making a sequence that failed shorter, unless more runs were asked for. */
const TIME_LIMIT = RUNS ? RUNS * 1_000 : 25_000;

const compare = oneAtATime(async (commands) => {
  await clear(subjects);
  const [theirs, ...ours] = await Promise.all(
    subjects.all.map((subject) => new Sequence(subject).run(commands)),
  );
  for (const [index, seen] of ours.entries()) {
    const { name } = subjects.all[index + 1];
    expect({ subject: name, ...seen }).toEqual({ subject: name, ...theirs });
  }
});

describe("generated calls come to the same", () => {
  test.each([
    ["on the shared service", sequences.unboundSequence, 200],
    ["bound to the caller's transactions", sequences.boundSequence, 200],
    ["both, in turn and inside of one another", sequences.mixedSequence, 200],
    ["with selectors", sequences.selections, 200],
  ])(
    "%s",
    async (_, sequence, numRuns) => {
      await fc.assert(fc.asyncProperty(sequence, compare), {
        numRuns: RUNS ?? numRuns,
        seed: SEED,
        interruptAfterTimeLimit: TIME_LIMIT,
      });
      await compare.ended();
    },
    6 * TIME_LIMIT,
  );
});

/** What a call resolves to; for errors their type, SQLSTATE or name, and for all else what was thrown. */
async function outcome(promise) {
  try {
    return await promise;
  } catch (error) {
    return error instanceof Error ? (error.type ?? error.code ?? error.name) : { thrown: error };
  }
}

function outcomes(...promises) {
  return Promise.all(promises.map(outcome));
}

/** A column of the key that a call resolves to, or what it rejects with. */
function column(name, promise) {
  return outcome(promise.then((key) => key[name]));
}

async function stored({ database }, expression) {
  const { rows } = await database.pool.query(
    `SELECT ${expression} AS value FROM idempotency_key ORDER BY id`,
  );
  return rows.map(({ value }) => value);
}

async function effects({ database }) {
  const { rows } = await database.pool.query("SELECT name FROM effect ORDER BY number");
  return rows.map(({ name }) => name);
}

/** A promise with what resolves it. */
function opening() {
  const made = {};
  made.promise = new Promise((resolve) => (made.resolve = resolve));
  return made;
}

const pay = (manager) => manager.query("INSERT INTO effect (name) VALUES ('paid')");
const fails = () => Promise.reject(new Error("no"));

/** What selectors find of two keys; `"Error"` is that they find both. */
function selecting(...selectors) {
  return async ({ service }) => {
    await service.create({
      idempotency_key: "first",
      created_at: "2020-01-01T00:00:00.123456Z",
      request_params: { a: { b: 1 } },
      request_path: "/first",
      response_body: "text",
    });
    await service.create({
      idempotency_key: "second",
      created_at: "2020-01-02T00:00:00Z",
      request_params: { b: 1 },
      response_body: ["text"],
    });
    const found = selectors.map((selector) =>
      column("idempotency_key", service.retrieve(selector)),
    );
    return Promise.all(found);
  };
}

/**
 * What ours does otherwise than Medusa's, and why. `observe` is carried out on each subject, on empty
 * tables; `native` is given where the service without TypeORM differs from ours on it.
 */
const INTENDED_DIFFERENCES = [
  {
    name: "lock()",
    reason: "Medusa's writes a number of milliseconds into a timestamptz and never succeeds",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k" });
      const locked = service.lock("k").then(({ locked_at }) => locked_at instanceof Date);
      return [await outcome(locked), await outcome(service.lock("k"))];
    },
    medusa: ["22008", "22008"],
    ours: [true, "conflict"],
  },
  {
    name: "a key of another request, acknowledged while a stage runs that fails",
    reason: "Medusa's joins the transaction that the shared instance keeps, and is lost with it",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k" });
      const stage = opening();
      const other = opening();
      const failing = service.workStage("k", async () => {
        stage.resolve();
        await other.promise;
        return fails();
      });
      await stage.promise;
      await service.create({ idempotency_key: "other" });
      other.resolve();
      await outcome(failing);
      return column("idempotency_key", service.retrieve("other"));
    },
    medusa: "not_found",
    ours: "other",
  },
  {
    name: "a call on the shared service inside a stage",
    reason: "no call joins a transaction that it was not bound to",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k" });
      let seen;
      await service.workStage("k", async (manager) => {
        await manager.query("UPDATE idempotency_key SET request_path = '/inside'");
        seen = await column("request_path", service.retrieve("k"));
        return { recovery_point: "seen" };
      });
      return seen;
    },
    medusa: "/inside",
    ours: null,
  },
  {
    name: "a stage of an unknown key",
    reason: "no work is done before the key is looked up",
    observe: async ({ service }) => {
      let runs = 0;
      const stage = service.workStage("unknown", () => ({ response_code: ++runs }));
      return [await outcome(stage), runs];
    },
    medusa: ["not_found", 1],
    ours: ["not_found", 0],
  },
  {
    name: "two stages of one key",
    reason: "the key's row is locked first, so that they never overlap",
    observe: async ({ service, transaction, database }) => {
      await service.create({ idempotency_key: "k" });
      const sql = `SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'`;
      const isBlocked = async () => (await database.pool.query(sql)).rowCount > 0;
      let running = 0;
      let most = 0;
      let ended = 0;
      const overlap = opening();
      const stage = (manager) =>
        service.withTransaction(manager).workStage("k", async () => {
          most = Math.max(most, ++running);
          if (running > 1) {
            overlap.resolve();
          }
          // Together with the other stage, or while it waits, or after it.
          await Promise.race([
            overlap.promise,
            eventually(async () => ended > 0 || (await isBlocked())),
          ]);
          running -= 1;
          ended += 1;
          return { recovery_point: "done" };
        });
      await Promise.all([transaction(undefined, stage), transaction(undefined, stage)]);
      return most;
    },
    medusa: 2,
    ours: 1,
  },
  {
    name: "a stage that fails with a serialization failure",
    reason: "a stage in a transaction of our own is repeated up to maxRetries times",
    observe: async ({ service, root, database }) => {
      const repeating = root ? service : database.service({ maxRetries: 2 });
      await repeating.create({ idempotency_key: "k" });
      let runs = 0;
      const failure = Object.assign(new Error("again"), { code: "40001" });
      const stage = repeating.workStage("k", () => {
        runs += 1;
        throw failure;
      });
      return [await outcome(stage), runs];
    },
    medusa: ["40001", 1],
    ours: ["40001", 1],
    native: ["40001", 3],
  },
  {
    name: "a stage that finishes without an answer",
    reason: "what is absent is stored as null: Medusa's says so, but leaves what there was",
    observe: async (subject) => {
      const { service } = subject;
      await service.create({ idempotency_key: "k", response_code: 1, response_body: "old" });
      const { response_code, response_body } = await service.workStage("k", () => ({}));
      const resolved = { response_code, response_body };
      const values = await stored(subject, "ARRAY[response_code::text, response_body::text]");
      return [resolved, ...values];
    },
    medusa: [{ response_code: null, response_body: null }, ["1", '"old"']],
    ours: [{ response_code: null, response_body: null }, [null, null]],
  },
  {
    name: "a recovery point that is empty, or no text",
    reason: "an empty one means finished, and what is no text is no recovery point",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k" });
      const seen = [];
      for (const recovery_point of ["", 0, 5]) {
        const stage = service.workStage("k", () => ({ recovery_point }));
        seen.push(await column("recovery_point", stage));
      }
      return seen;
    },
    medusa: ["", 0, 5],
    ours: ["finished", "finished", "invalid_data"],
  },
  {
    name: "a callback that returns no object",
    reason:
      "an outcome that is none must not finish a request: invalid_data, and all is rolled back",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k" });
      const seen = [];
      for (const value of [undefined, null, "text", 5]) {
        seen.push(
          await column(
            "recovery_point",
            service.workStage("k", () => value),
          ),
        );
      }
      return seen;
    },
    medusa: ["TypeError", "TypeError", "finished", "finished"],
    ours: ["invalid_data", "invalid_data", "invalid_data", "invalid_data"],
  },
  {
    name: "a stage bound to the root manager",
    reason: "the work and the key's new state commit together, so it gets a transaction",
    observe: async (subject) => {
      const { service, root } = subject;
      await service.create({ idempotency_key: "k" });
      const stage = service.withTransaction(root).workStage("k", async (manager) => {
        await pay(manager);
        return fails();
      });
      return [await outcome(stage), await effects(subject)];
    },
    medusa: ["Error", ["paid"]],
    ours: ["Error", []],
  },
  {
    name: "a phase bound to the root manager",
    reason: "with no transaction open it is as an unbound one, where the third argument holds",
    observe: ({ service, root }) =>
      outcome(service.withTransaction(root).atomicPhase_(fails, () => "handled", true)),
    medusa: "Error",
    ours: "handled",
  },
  {
    name: "the error handler after a repeated phase",
    reason: "it is called when the repetition has failed as well",
    observe: async ({ service }) => {
      let runs = 0;
      let handled = 0;
      const work = () => {
        runs += 1;
        throw Object.assign(new Error("again"), { code: "40001" });
      };
      await outcome(service.atomicPhase_(work, "SERIALIZABLE", () => (handled += 1)));
      return { runs, handled };
    },
    medusa: { runs: 2, handled: 0 },
    ours: { runs: 2, handled: 1 },
  },
  {
    name: "an isolation level that is none",
    reason:
      "Medusa's takes what is no string for no level; a level goes to TypeORM where it is there",
    observe: ({ service }) =>
      outcomes(
        service.atomicPhase_(() => "done", "NONE"),
        service.atomicPhase_(() => "done", {}),
      ),
    medusa: ["42601", "done"],
    ours: ["42601", "invalid_argument"],
    native: ["invalid_argument", "invalid_argument"],
  },
  {
    name: "a commit that rolls back",
    reason: "work is not said to be done that was undone",
    observe: async (subject) => {
      const phase = subject.service.atomicPhase_(async (manager) => {
        await pay(manager);
        await outcome(manager.query("SELECT 1 / 0"));
        return "done";
      });
      return [await outcome(phase), await effects(subject)];
    },
    medusa: ["done", []],
    ours: ["25P02", []],
  },
  {
    name: "a manager whose transaction has ended",
    reason: "what is written with it would stay, whatever becomes of the caller's transaction",
    observe: async (subject) => {
      const { service, transaction } = subject;
      let late;
      const ended = transaction(undefined, async (manager) => {
        const bound = service.withTransaction(manager);
        await outcome(bound.atomicPhase_(fails, () => {}));
        late = await column("idempotency_key", bound.create({ idempotency_key: "late" }));
        return fails();
      });
      await outcome(ended);
      return [late, await stored(subject, "idempotency_key")];
    },
    medusa: ["late", ["late"]],
    ours: ["unexpected_state", []],
  },
  {
    name: "a callback that rolls its stage back",
    reason: "the key's new state must not be committed without the work",
    observe: async (subject) => {
      const { service, transaction } = subject;
      const callback = async (manager) => {
        await pay(manager);
        await manager.queryRunner.rollbackTransaction();
        return { response_code: 200 };
      };
      await service.create({ idempotency_key: "k" });
      const unbound = await outcome(service.workStage("k", callback));
      await service.create({ idempotency_key: "l" });
      const bound = transaction(undefined, (manager) =>
        service.withTransaction(manager).workStage("l", callback),
      );
      const rejected = [unbound, await outcome(bound)].map((seen) => typeof seen === "string");
      return [rejected, await effects(subject), await stored(subject, "recovery_point")];
    },
    medusa: [[true, true], [], ["finished", "finished"]],
    ours: [[true, true], [], ["started", "started"]],
  },
  {
    name: "a value in a selector that is none, where no row is compared with it",
    reason: "a value is judged when it is compared, which is never where another condition fails",
    observe: ({ service }) => outcome(service.retrieve({ created_at: null, locked_at: "no time" })),
    medusa: "22007",
    ours: "not_found",
  },
  {
    name: "binding to what is no manager",
    reason: "it rejects with an error that says so",
    observe: ({ service }) => outcome(service.withTransaction({}).create({})),
    medusa: "TypeError",
    ours: "invalid_argument",
  },
  {
    name: "methods that a subclass overrides",
    reason: "every operation is a statement of its own, and none is made of others",
    observe: async ({ service, database, isMedusa }) => {
      const calls = [];
      class Subclass extends service.constructor {
        create(payload) {
          calls.push("create");
          return super.create(payload);
        }
        update(key, update) {
          calls.push("update");
          return super.update(key, update);
        }
      }
      const own = new Subclass(service.__container__, service.__configModule__);
      if (!isMedusa) {
        database.closed(own);
      }
      const { idempotency_key: key } = await own.initializeRequest("");
      await own.workStage(key, () => ({}));
      return calls;
    },
    medusa: ["create", "update"],
    ours: [],
  },
  {
    name: "a header that is no text of the database's",
    reason: "Medusa's swallows the error of its look-up and meets the aborted transaction",
    observe: ({ service }) => outcome(service.initializeRequest("a\0b", "POST", {}, "/")),
    medusa: "25P02",
    ours: "22021",
  },
  {
    name: "a key that is no string",
    reason: "a key is not a selector, and a header never finds the key of another request",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k", request_path: "/mine" });
      const mine = { request_path: "/mine" };
      return Promise.all([
        column("idempotency_key", service.initializeRequest(mine, "POST", {}, "/")),
        column("idempotency_key", service.update(mine, { response_code: 200 })),
        column(
          "response_code",
          service.workStage(mine, () => ({ response_code: 201 })),
        ),
        outcome(service.retrieve(5)),
        outcome(service.retrieve(null)),
      ]);
    },
    medusa: ["k", "k", 201, "TypeError", "TypeError"],
    ours: ["invalid_data", "invalid_data", "invalid_data", "invalid_data", "not_found"],
  },
  {
    name: "arguments that are not of their type",
    reason: "bad input rejects with an error that says what is wrong",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k" });
      const seen = await outcomes(service.create(), service.update("k", null));
      seen.push(await column("length", service.create([])));
      seen.push(await column("idempotency_key", service.update("k", "text")));
      seen.push(...(await outcomes(service.workStage("k"), service.atomicPhase_())));
      return seen;
    },
    medusa: ["TypeError", "TypeError", 0, "k", "TypeError", "TypeError"],
    ours: [
      "invalid_data",
      "invalid_data",
      "invalid_data",
      "invalid_data",
      "invalid_argument",
      "invalid_argument",
    ],
  },
  {
    name: "arguments that are none, before the key is looked up",
    reason: "every operation is one statement, which the server judges as a whole",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k" });
      return [
        await outcome(service.update("unknown", { response_code: "abc" })),
        await column("idempotency_key", service.initializeRequest("k", "POST", {}, "\0")),
      ];
    },
    medusa: ["not_found", "k"],
    // A statement that is kept prepared may have a plan that finds no row first.
    ours: [expect.stringMatching(/^(22P02|not_found)$/), "22021"],
  },
  {
    name: "a key for what is no JSON",
    reason: "arguments are looked at before anything is done: none is written back",
    observe: async ({ service }) => {
      const payload = { request_params: 1n };
      return [await outcome(service.create(payload)), typeof payload.idempotency_key];
    },
    medusa: ["TypeError", "string"],
    ours: ["TypeError", "undefined"],
  },
  {
    name: "a payload that is frozen",
    reason: "that the key cannot be written back is no reason not to create it",
    observe: ({ service }) =>
      column("request_path", service.create(Object.freeze({ request_path: "/" }))),
    medusa: "TypeError",
    ours: "/",
  },
  {
    name: "create() with an id that is taken",
    reason: "create() inserts, and never overwrites the key of another request",
    observe: async (subject) => {
      await subject.service.create({ id: "i", idempotency_key: "first" });
      const second = subject.service.create({ id: "i", idempotency_key: "second" });
      return [await column("id", second), await stored(subject, "idempotency_key")];
    },
    medusa: ["i", ["second"]],
    ours: ["23505", ["first"]],
  },
  {
    name: "update() of the id",
    reason: "update() changes the row of its key: Medusa's inserts another one",
    observe: async (subject) => {
      await subject.service.create({ id: "i", idempotency_key: "k" });
      await subject.service.update("k", { id: "j", idempotency_key: "l" });
      return stored(subject, "id || idempotency_key");
    },
    medusa: ["ik", "jl"],
    ours: ["jl"],
  },
  {
    name: "values that are converted when they are stored",
    reason: "a key has what is stored, with Dates for timestamps, not what was given",
    observe: async ({ service }) => {
      const locked_at = "2020-01-01T00:00:00.000Z";
      const given = { locked_at, response_code: "200", request_method: 5, request_path: "\ud800" };
      const key = await service.create({ ...given });
      return Object.keys(given).map((name) => key[name]);
    },
    medusa: ["2020-01-01T00:00:00.000Z", "200", 5, "\ud800"],
    ours: [new Date("2020-01-01T00:00:00.000Z"), 200, "5", "\ufffd"],
  },
  {
    name: "the shape of a key",
    reason: "keys are plain objects with the ten columns, null for what is absent",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k", request_path: "/" });
      const key = await service.update("k", { request_path: undefined, unknown: 1 });
      const isPlain = Object.getPrototypeOf(key) === Object.prototype;
      return { isPlain, request_path: key.request_path, unknown: "unknown" in key };
    },
    medusa: { isPlain: false, request_path: undefined, unknown: true },
    ours: { isPlain: true, request_path: "/", unknown: false },
  },
  {
    name: "names in JSON that every object has",
    reason: "JSON is stored as it is: TypeORM drops these, or calls what it finds there",
    observe: async (subject) => {
      const json = JSON.parse('{"__proto__": {"a": 1}, "valueOf": [1], "b": 2}');
      await subject.service.create({ request_params: json, idempotency_key: "k" });
      const own = { hasOwnProperty: 1, c: 3 };
      const updates = [{ request_params: own }, { request_params: { ...own, d: 4 } }];
      const before = await stored(subject, "request_params::text");
      const seen = [];
      for (const update of updates) {
        seen.push(await column("request_params", subject.service.update("k", update)));
      }
      return [before, seen];
    },
    medusa: [['{"b": 2}'], ["TypeError", "TypeError"]],
    ours: [
      ['{"b": 2, "valueOf": [1], "__proto__": {"a": 1}}'],
      [
        { hasOwnProperty: 1, c: 3 },
        { hasOwnProperty: 1, c: 3, d: 4 },
      ],
    ],
  },
  {
    name: "JSON's null",
    reason: "null clears a column: TypeORM sees no change where JSON's null is stored",
    observe: async (subject) => {
      await subject.service.create({ idempotency_key: "k", request_params: NaN });
      await subject.service.update("k", { request_params: null });
      return stored(subject, "request_params::text");
    },
    medusa: ["null"],
    ours: [null],
  },
  {
    name: "a function in place of JSON",
    reason: "TypeORM takes what it returns for SQL; it is no JSON",
    observe: async (subject) => {
      await subject.service.create({ request_params: () => "to_jsonb(1 + 1)" });
      return stored(subject, "request_params::text");
    },
    medusa: ["2"],
    ours: [null],
  },
  {
    name: "a selector's column that does not exist",
    reason: "it is an invalid argument, with the same message, whatever is asked of it",
    observe: async ({ service }) => {
      await service.create({ idempotency_key: "k" });
      return [
        await outcome(service.retrieve({ metadata: "a" })),
        await column("idempotency_key", service.retrieve({ metadata: {} })),
      ];
    },
    medusa: ["EntityPropertyNotFoundError", "k"],
    ours: ["invalid_argument", "invalid_argument"],
  },
  {
    name: "a time without an offset",
    reason: "the service's own connections run in UTC; Medusa's in the time zone of the server",
    observe: async (subject) => {
      await subject.service.create({ locked_at: "2020-01-01T00:00:00" });
      return stored(subject, "extract(hour FROM locked_at AT TIME ZONE 'UTC')::int");
    },
    medusa: [5],
    ours: [0],
  },
  {
    name: "a Date in a selector",
    reason: "Medusa's takes it for an object without a condition, or for a time with microseconds",
    observe: selecting(
      { created_at: new Date("2020-01-01T00:00:00.123Z") },
      { created_at: { lte: new Date("2020-01-01T00:00:00.123Z") } },
    ),
    medusa: ["Error", "not_found"],
    ours: ["first", "first"],
  },
  {
    name: "JSON in a selector",
    reason: "it is compared as a whole: Medusa's looks for what lies inside of it, or for no JSON",
    observe: selecting(
      { request_params: { a: { b: 1 } } },
      { request_params: {} },
      { response_body: "text" },
      { response_body: [["text"]] },
      { response_body: typeorm.Equal("text") },
    ),
    medusa: ["second", "Error", "22P02", "22P02", "22P02"],
    ours: ["first", "not_found", "first", "second", "first"],
  },
  {
    name: "an object in a selector that is no condition",
    reason: "Medusa's finds any key, or compares text with JSON",
    observe: selecting({ request_path: {} }, { request_path: { like: "/%" } }, [null], [["first"]]),
    medusa: ["Error", "not_found", "TypeError", "EntityPropertyNotFoundError"],
    ours: ["invalid_argument", "invalid_argument", "invalid_argument", "invalid_argument"],
  },
  {
    name: "an alternative without a condition",
    reason: "it describes every key, as it does outside of an array",
    observe: selecting([{}], {}),
    medusa: ["42601", "Error"],
    ours: ["Error", "Error"],
  },
  {
    name: "undefined as operand of a selector's operator",
    reason: "undefined is no condition, whatever it is given for",
    observe: selecting(
      { response_code: { gt: undefined } },
      { idempotency_key: { contains: undefined, starts_with: "f" } },
    ),
    medusa: ["not_found", "not_found"],
    ours: ["Error", "first"],
  },
  {
    name: "TypeORM's operators for arrays",
    reason: "the table has no arrays",
    observe: selecting({ request_path: typeorm.ArrayContains(["a"]) }),
    medusa: ["42883"],
    ours: ["invalid_argument"],
  },
];

describe("what differs by intent", () => {
  test.each(INTENDED_DIFFERENCES)("$name: $reason", async (difference) => {
    await clear(subjects);
    const { observe, medusa, ours, native = ours } = difference;
    expect(await observe(subjects.medusa)).toEqual(medusa);
    expect(await observe(subjects.onTypeOrm)).toEqual(ours);
    expect(await observe(subjects.native)).toEqual(native);
  });
});

describe("what is rarely met comes to the same", () => {
  test.each([
    [
      "Dates before the year 0 and after the year 9999",
      async ({ service }) => {
        const dates = ["-000043-03-15T12:00:00Z", "+012024-01-01T00:00:00Z"].map(
          (iso) => new Date(iso),
        );
        const seen = [];
        for (const date of dates) {
          seen.push(await column("locked_at", service.create({ locked_at: date })));
          seen.push(await column("locked_at", service.retrieve({ locked_at: { gte: date } })));
        }
        return seen;
      },
    ],
    [
      "the milliseconds of Dates of a far-away year, in the caller's transaction",
      ({ service, transaction }) =>
        transaction(undefined, (manager) => {
          const locked_at = new Date("4331-06-14T19:00:52.257Z");
          return column("locked_at", service.withTransaction(manager).create({ locked_at }));
        }),
    ],
    [
      "TypeORM's Not(null)",
      selecting({ request_path: typeorm.Not(null) }, { request_path: typeorm.Equal(null) }),
    ],
  ])("%s", async (_, observe) => {
    await clear(subjects);
    const theirs = await observe(subjects.medusa);
    expect(await observe(subjects.onTypeOrm)).toEqual(theirs);
    expect(await observe(subjects.native)).toEqual(theirs);
  });
});
