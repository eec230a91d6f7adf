"use strict";

const { sqlStateOf } = require("../errors/sql-state");

// Some libraries run the statements of a handle whose transaction has ended: on a connection where another
// transaction may be open by then, whose owner knows nothing of ours. Each statement in a handle of theirs says
// which transaction it is for, and does nothing in another one (`guard` in src/engine/sql/fragments.rs).

/** SQLSTATE: the transaction is aborted; it answers nothing until its end. */
const ABORTED = "25P02";

const NUMBER = "SELECT txid_current()::text AS number";
/** Gives none to a transaction that has none. */
const NUMBER_IF_ANY = "SELECT txid_current_if_assigned()::text AS number";

/** Guards by handles of which each is of one transaction. */
const ofHandles = new WeakMap();

/**
 * The transaction that is open when a handle is used first, by its number: outside of a transaction, that of a
 * statement that has ended. A handle that is used first when another transaction is open on its connection is taken
 * for that one's: no library tells the difference.
 */
class Guard {
  #query;
  #number;

  /** @param {(sql: string) => Promise<object[]>} query in whatever transaction is open */
  constructor(query) {
    this.#query = query;
  }

  /** @returns {Promise<string>} the transaction's number, which is asked for once */
  number() {
    this.#number ??= this.#ask(NUMBER).catch((error) => {
      this.#number = undefined;
      throw error;
    });
    return this.#number;
  }

  /** Whether the transaction goes on: once it has ended, it never does again. */
  async goesOn() {
    const number = await this.number();
    return number === (await this.#ask(NUMBER_IF_ANY));
  }

  /** The same for whoever ends the transaction: an aborted one is open. */
  async canBeEnded() {
    try {
      return await this.goesOn();
    } catch (error) {
      if (sqlStateOf(error) === ABORTED) {
        return true;
      }
      throw error;
    }
  }

  async #ask(sql) {
    const [{ number }] = await this.#query(sql);
    return number;
  }
}

/**
 * The guard of a handle, where its library needs one.
 *
 * @param {import(".").Library} library
 * @param {object} handle
 * @returns {Guard | undefined}
 */
function guardOf(library, handle) {
  const made = () => new Guard((sql) => library.query(handle, sql, []));
  switch (library.guardedBy) {
    case "handle":
      if (!ofHandles.has(handle)) {
        ofHandles.set(handle, made());
      }
      return ofHandles.get(handle);
    case "binding":
      return made();
    default:
      return undefined;
  }
}

module.exports = { guardOf };
