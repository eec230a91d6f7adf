"use strict";

const { Session } = require("../bridge/binding");
const { drive } = require("../handles/flows");
const { transactionEnded } = require("../handles/refusals");
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
    const begin = (flow) => native.beginFlow(flow, JSON.stringify(operation), lease, long);
    const { value, failure } = await drive(native, begin, this.#target);
    return { value: value?.key, failure };
  }

  async stage({ text, recoveryPoint }, lease, work) {
    const native = this.#operations();
    return lease.use(async (held) => {
      const begin = (flow) => native.beginStage(flow, text, held, recoveryPoint);
      return work.keyFrom(await drive(native, begin, this.#target, work));
    });
  }

  async phase(work, options) {
    const { library, handle } = this.#target;
    this.#requireOpen();
    const rollBack = async () => {
      if (library.isOpen(handle)) {
        await library.rollBack(handle);
      }
    };
    return inCallersTransaction(async () => work(handle), options, rollBack);
  }

  #operations() {
    const { library, handle } = this.#target;
    this.#requireOpen();
    return operationsOn(this.#context.settings.schema ?? library.schemaOf(handle));
  }

  #requireOpen() {
    const { library, handle } = this.#target;
    if (!library.isOpen(handle)) {
      throw transactionEnded();
    }
  }
}

function operationsOn(schema) {
  let native = operations.get(schema);
  if (!native) {
    native = Session.foreign(schema);
    operations.set(schema, native);
  }
  return native;
}

module.exports = { HandleTransaction };
