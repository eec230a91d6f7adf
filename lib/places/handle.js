"use strict";

const { SteppedOperations } = require("../bridge/binding");
const { guardOf } = require("../handles/guard");
const { transactionEnded } = require("../handles/refusals");
const { drive } = require("../handles/stepped");
const { inCallersTransaction } = require("./phases");

/** The native operations on the table of each schema: unguarded and guarded ones. */
const operations = [new Map(), new Map()];

/**
 * The transaction that a handle has open: the engine decides what is to be done, and the handle runs the
 * statements.
 *
 * @implements {import(".").Place}
 */
class HandleTransaction {
  isInTransaction = true;
  #context;
  #target;

  /**
   * @param {import("./context").Context} context
   * @param {{ library: import("../handles").Library, handle: object }} target
   */
  constructor(context, { library, handle }) {
    this.#context = context;
    this.#target = { library, handle, guard: guardOf(library, handle) };
  }

  async run(operation, lease, long) {
    const native = this.#operations();
    const begin = (number) => native.begin(number, JSON.stringify(operation), lease, long);
    return drive(native, begin, this.#target, { lease });
  }

  async stage({ text, recoveryPoint }, lease, work) {
    const native = this.#operations();
    return lease.use(async (held) => {
      const begin = (number) => native.beginStage(number, text, held, recoveryPoint);
      return work.keyFrom(await drive(native, begin, this.#target, { lease: held, work }));
    });
  }

  async firstStage(request, lease, work) {
    const native = this.#operations();
    return lease.use(async (held) => {
      const begin = (number) => native.beginFirstStage(number, JSON.stringify(request), held);
      return work.keyFrom(await drive(native, begin, this.#target, { lease: held, work }));
    });
  }

  async phase(work, options) {
    const { library, handle, guard } = this.#target;
    const isOpen = async () => library.isOpen(handle) && (!guard || (await guard.canBeEnded()));
    if (!(await isOpen())) {
      throw transactionEnded();
    }
    const rollBack = async (error) => {
      if (await isOpen()) {
        await library.rollBack(handle, error);
      }
    };
    return inCallersTransaction(async () => work(handle), options, rollBack);
  }

  #operations() {
    const { library, handle, guard } = this.#target;
    return operationsOn(
      this.#context.settings.schema ?? library.schemaOf?.(handle),
      Boolean(guard),
    );
  }
}

function operationsOn(schema, isGuarded) {
  const ofSchemas = operations[Number(isGuarded)];
  let native = ofSchemas.get(schema);
  if (!native) {
    native = new SteppedOperations(schema, isGuarded);
    ofSchemas.set(schema, native);
  }
  return native;
}

module.exports = { HandleTransaction };
