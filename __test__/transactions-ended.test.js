/** @jest-environment ./__test__/helpers/libraries-environment.js */
"use strict";

// Handles whose transaction has ended, and the objects through which transactions are opened: the same for every
// library.

const { rejection, useDatabase } = require("./helpers/database");
const { LIBRARIES } = require("./helpers/libraries");

const ended = { type: "unexpected_state", code: "transaction_ended" };
const notFound = { type: "not_found" };

const database = useDatabase();

beforeAll(() => database.pool.query("CREATE TABLE effect (name text)"));
beforeEach(() => database.pool.query("TRUNCATE effect, idempotency_key"));

async function effects() {
  const { rows } = await database.pool.query("SELECT name FROM effect ORDER BY name");
  return rows.map(({ name }) => name);
}

/** How many keys there are, and in what state the one is that the tests make. */
async function keys() {
  const { rows } = await database.pool.query(
    "SELECT idempotency_key, recovery_point, locked_at FROM idempotency_key",
  );
  return rows;
}

describe.each(LIBRARIES)("$title", ({ open }) => {
  describe("a handle whose transaction has ended is refused", () => {
    let library;
    let service;
    const callback = jest.fn();

    beforeAll(async () => {
      // All transactions are on this one connection.
      library = database.closed(await open(database.url, { max: 1 }));
      service = database.service();
    });

    beforeEach(() => callback.mockClear());

    /** Makes each call and looks at what it rejects with. */
    async function expectRefusals(bound) {
      for (const call of [
        () => bound.create({ idempotency_key: "new" }),
        () => bound.retrieve("k"),
        () => bound.retrieve("unknown"),
        () => bound.retrieve({ idempotency_key: "k" }),
        () => bound.lock("k"),
        () => bound.update("k", { response_code: 200 }),
        () => bound.initializeRequest("new", "POST", {}, "/"),
        () => bound.initializeRequest("k", "POST", {}, "/"),
        () => bound.workStage("k", callback),
        () => bound.runStages({ key: "new" }, { started: callback }),
        () => bound.atomicPhase_(callback),
      ]) {
        expect([String(call), await rejection(call())]).toMatchObject([String(call), ended]);
      }
      expect(callback).not.toHaveBeenCalled();
    }

    /** A service that was bound to a transaction and used in it. */
    async function endedService({ mode, rollBack = false } = {}) {
      const key = { idempotency_key: "k", recovery_point: "started", locked_at: null };
      await database.service().create({ idempotency_key: "k" });
      const of = mode ? database.service({ mode }) : service;
      let bound;
      const failure = new Error("undo");
      const transaction = library.begin(async (handle) => {
        bound = of.withTransaction(handle);
        await bound.retrieve("k");
        if (rollBack) {
          throw failure;
        }
      });
      await (rollBack ? rejection(transaction) : transaction);
      return { bound, expectUntouched: async () => expect(await keys()).toEqual([key]) };
    }

    test.each([
      ["committed", { rollBack: false }],
      ["rolled back", { rollBack: true }],
    ])("where no transaction is open: %s", async (_, how) => {
      const { bound, expectUntouched } = await endedService(how);
      await expectRefusals(bound);
      await expectUntouched();
    });

    test.each(["exactly-once", "medusa"])(
      "where its connection serves somebody else's transaction, which is left alone (mode %s)",
      async (mode) => {
        const { bound, expectUntouched } = await endedService({ mode });
        await library.begin(async (handle) => {
          await expectRefusals(bound);
          await library.insert(handle, "theirs");
          await expectRefusals(bound);
        });
        expect(await effects()).toEqual(["theirs"]);
        await expectUntouched();
      },
    );

    test("where the transaction ends inside of a stage", async () => {
      await service.create({ idempotency_key: "k" });
      let bound;
      let stage;
      let goOn;
      const ending = new Promise((resolve) => (goOn = resolve));
      await library.begin(async (handle) => {
        bound = service.withTransaction(handle);
        await new Promise((resolve) => {
          stage = rejection(
            bound.workStage("k", async () => {
              resolve();
              await ending;
              return { response_code: 200 };
            }),
          );
        });
      });
      await library.begin(async (handle) => {
        goOn();
        expect(await stage).toMatchObject(ended);
        await library.insert(handle, "theirs");
      });
      expect(await effects()).toEqual(["theirs"]);
      expect(await keys()).toMatchObject([{ recovery_point: "started" }]);
    });
  });

  describe("the object that transactions are opened through", () => {
    let library;

    beforeAll(async () => {
      library = database.closed(await open(database.url));
    });

    const request = { key: "request", method: "POST", path: "/orders" };

    /** How a service of a library that does not tell is to reach the database. */
    const own = () => (library.tellsConnection === false ? { databaseUrl: database.url } : {});

    /** Services that are given it in each way. */
    const ways = () => [
      ["by the constructor", database.closed(new Service({ manager: library.root }, own()))],
      ["by withTransaction()", database.service().withTransaction(library.root)],
      ["by both", database.service({}, ServiceOf(library.root))],
    ];
    const { IdempotencyKeyService: Service } = require("..");
    const ServiceOf = (manager) =>
      class extends Service {
        constructor(_container, options) {
          super({ manager }, options);
        }
      };

    test("a stage and a phase get the library's handle, in a transaction of their own", async () => {
      if (!library.root) {
        return;
      }
      for (const [way, service] of ways()) {
        await database.pool.query("TRUNCATE effect, idempotency_key");
        const run = (fails) =>
          service.runStages(request, {
            started: async (handle) => {
              await library.insert(handle, "started");
              expect(await service.withTransaction(handle).retrieve("request")).toMatchObject({
                recovery_point: "started",
              });
              return { recovery_point: "half" };
            },
            half: async (handle) => {
              await library.insert(handle, "half");
              if (fails) {
                throw new Error("undo");
              }
              return { response_code: 201 };
            },
          });
        expect((await rejection(run(true))).message).toBe("undo");
        expect([way, await effects()]).toEqual([way, ["started"]]);
        expect(await run(false)).toMatchObject({ response_code: 201, replayed: false });
        expect(await run(false)).toMatchObject({ response_code: 201, replayed: true });
        expect([way, await effects()]).toEqual([way, ["half", "started"]]);
        const created = await service.create({});
        await service.workStage(created, async (handle) => {
          await library.insert(handle, "staged");
          return {};
        });
        await service.atomicPhase_(
          async (handle) => library.insert(handle, "phase"),
          "SERIALIZABLE",
        );
        expect(await effects()).toEqual(["half", "phase", "staged", "started"]);
      }
    });

    test("a stage that fails leaves nothing, not even a key that it was to insert", async () => {
      if (!library.root) {
        return;
      }
      const failure = new Error("undo");
      const service = database.service().withTransaction(library.root);
      const failing = service.runStages(request, {
        started: async (handle) => {
          await library.insert(handle, "undone");
          throw failure;
        },
      });
      expect(await rejection(failing)).toBe(failure);
      expect(await rejection(service.retrieve("request"))).toMatchObject(notFound);
      const phase = service.atomicPhase_(async (handle) => {
        await library.insert(handle, "undone");
        await library.fail(handle);
      });
      expect(database.service().shouldRetryTransaction_(await rejection(phase))).toBe(false);
      const swallowing = service.atomicPhase_(async (handle) => {
        await library.insert(handle, "undone");
        await Promise.resolve(library.fail(handle)).catch(() => {});
      });
      await rejection(swallowing);
      expect(await effects()).toEqual([]);
    });
  });
});
