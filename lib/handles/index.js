"use strict";

const drizzle = require("./drizzle");
const knex = require("./knex");
const kysely = require("./kysely");
const mikroOrm = require("./mikro-orm");
const own = require("./own");
const pg = require("./pg");
const postgresJs = require("./postgres-js");
const prisma = require("./prisma");
const { kindOf, notAHandle } = require("./refusals");
const sequelize = require("./sequelize");
const typeorm = require("./typeorm");

/**
 * A library whose transactions a service can be bound to. A handle is the object by which its users know an open
 * transaction.
 *
 * @typedef {object} Library
 * @property {string} openedBy what opens a transaction, for the message to those who pass something else
 * @property {(value: unknown) => object | undefined} recognise the handle that a value is, even if its transaction
 *   has ended
 * @property {(handle: object) => boolean} isOpen whether its transaction has begun and not ended
 * @property {(handle: object, error: unknown) => Promise<void>} rollBack for an error that its work has failed with
 * @property {(handle: object, sql: string, parameters: unknown[], isFrequent?: boolean) => Promise<object[]>} query
 *   takes `$1` placeholders and parameters that are text, true, false or null
 *   and rejects with what the library does, without the values that a client may have sent
 * @property {"handle" | "binding"} [guardedBy] where a handle whose transaction has ended may run in another one: a
 *   handle is of one transaction, or it is a connection, which a service is bound to for one transaction
 * @property {(handle: object) => string | undefined} [schemaOf] of the tables, where the library names one
 * @property {(value: unknown) => string | undefined} [mistake] what a value is that people pass in place of a handle,
 *   and what to do: `"a DataSource of TypeORM: pass …"`
 * @property {(value: unknown) => object | undefined} [recogniseRoot] what begin() takes, if a value is that
 * @property {(root: object, isolation: string | undefined, work: (handle: object) => Promise<T>) => Promise<T>}
 *   [begin] runs work in a transaction of its own
 * @property {(value: unknown) => object | undefined} [dataSourceOf] what the handles and roots of one database have in
 *   common
 * @property {(value: unknown) => { source: string, settings: { connection: object, schema?: string } } | undefined}
 *   [connectionOf] how a database is reached: settings as `pg` takes them, and what they are called in messages
 */

/** @type {Library[]} */
const LIBRARIES = [typeorm, mikroOrm, knex, kysely, sequelize, prisma, pg, postgresJs, drizzle];

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

/** What a value is that is not what it should be, and what to pass in its place where its library knows. */
function nameOf(value) {
  return firstOf((library) => library.mistake?.(value)) ?? kindOf(value);
}

/** The error for a value that is no handle and no root. */
function refusal(value) {
  return notAHandle(
    nameOf(value),
    [own, ...LIBRARIES].map(({ openedBy }) => openedBy),
  );
}

module.exports = { connectionOfManager, dataSourceOf, handleOf, nameOf, refusal, rootOf };
