"use strict";

const { SteppedOperations } = require("../bridge/binding");
const { transactionEnded } = require("../handles/refusals");
const { drive } = require("../handles/stepped");
const { inCallersTransaction } = require("./phases");

/** The native operations on the table of each schema. */
const operations = new Map();

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
  constructor(context, target) {
    this.#context = context;
    this.#target = target;
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
    const { library, handle } = this.#target;
    if (!library.isOpen(handle)) {
      throw transactionEnded();
    }
    const rollBack = async () => {
      if (library.isOpen(handle)) {
        await library.rollBack(handle);
      }
    };
    return inCallersTransaction(async () => work(handle), options, rollBack);
  }

  #operations() {
    const { library, handle } = this.#target;
    return operationsOn(this.#context.settings.schema ?? library.schemaOf(handle));
  }
}

function operationsOn(schema) {
  let native = operations.get(schema);
  if (!native) {
    native = new SteppedOperations(schema);
    operations.set(schema, native);
  }
  return native;
}

module.exports = { HandleTransaction };
