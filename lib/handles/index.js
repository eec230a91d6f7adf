"use strict";

const own = require("./own");
const { notAHandle } = require("./refusals");
const typeorm = require("./typeorm");

/**
 * A library whose transactions a service can be bound to. A handle is the object by which its users know an open
 * transaction.
 *
 * @typedef {object} Library
 * @property {string} openedBy what hands a handle to a callback, for the message to those who pass something else
 * @property {(value: unknown) => object | undefined} recognise the handle that a value is, even if its transaction
 *   has ended
 * @property {(handle: object) => boolean} isOpen whether its transaction has begun and not ended
 * @property {(handle: object) => Promise<void>} rollBack
 * @property {(handle: object, sql: string, parameters: unknown[], isFrequent?: boolean) => Promise<object[]>} query
 *   takes `$1` placeholders and parameters that are text, true, false or null
 * @property {(error: unknown) => string | undefined} sqlState of what query() rejected with
 * @property {(handle: object) => string | undefined} schemaOf of the tables, where the library names one
 * @property {(value: unknown) => object | undefined} [recogniseRoot] what begin() takes, if a value is that
 * @property {(root: object, isolation: string | undefined, work: (handle: object) => Promise<T>) => Promise<T>}
 *   [begin] runs work in a transaction of its own
 * @property {(value: unknown) => object | undefined} [dataSourceOf] what the handles and roots of one database have in
 *   common
 * @property {(value: unknown) => { source: string, settings: { connection: object, schema?: string } } | undefined}
 *   [connectionOf] how a database is reached: settings as `pg` takes them, and what they are called in messages
 */

/** @type {Library[]} */
const LIBRARIES = [typeorm];

/**
 * The handle that a value is, with its library.
 *
 * @returns {{ library: Library, handle: object } | undefined}
 */
function handleOf(value) {
  return firstOf((library) => {
    const handle = library.recognise(value);
    return handle && { library, handle };
  });
}

/**
 * The root that a value is, through which transactions can be opened, with its library.
 *
 * @returns {{ library: Library, root: object } | undefined}
 */
function rootOf(value) {
  return firstOf((library) => {
    const root = library.recogniseRoot?.(value);
    return root && { library, root };
  });
}

/** What the handles and roots of one database of the process have in common. */
function dataSourceOf(value) {
  return firstOf((library) => library.dataSourceOf?.(value));
}

/** How the database of a handle or a root is reached, where its library tells. */
function connectionOfManager(value) {
  return firstOf((library) => library.connectionOf?.(value));
}

function firstOf(find) {
  for (const library of LIBRARIES) {
    const found = find(library);
    if (found) {
      return found;
    }
  }
  return undefined;
}

/** The error for a value that is no handle and no root. */
function refusal() {
  return notAHandle([own, ...LIBRARIES].map(({ openedBy }) => openedBy));
}

module.exports = { connectionOfManager, dataSourceOf, handleOf, refusal, rootOf };
