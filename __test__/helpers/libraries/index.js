"use strict";

// The libraries that the tests bind services to, a file each. Support for another one is a file in lib/handles, one
// here, and its name in this list.

/**
 * @typedef {object} OpenLibrary
 * @property {unknown} [root] what transactions can be opened through, where the library has such an object
 * @property {boolean} [tellsConnection] whether a service can learn of the root how the database is reached (default),
 *   or needs a `databaseUrl` for its own connections
 * @property {(work: (handle: unknown) => unknown) => Promise<unknown>} begin runs work in a transaction as the
 *   library's users do, which is rolled back if it rejects
 * @property {(handle: unknown, name: string) => PromiseLike<unknown>} insert a row into the table `effect`, by the
 *   library's own means
 * @property {(handle: unknown) => PromiseLike<unknown>} fail rejects with the library's error for SQLSTATE 22012
 * @property {(handle: unknown, work: (nested: unknown) => unknown) => Promise<unknown>} [nested] runs work in a
 *   savepoint, which is rolled back if it rejects
 * @property {[string, unknown][]} mistakes what people pass in place of a handle, and the word by which the refusal
 *   names it
 * @property {() => Promise<unknown>} close
 *
 * @typedef {(url: string, options?: { max?: number }) => Promise<OpenLibrary>} Opener with so many connections at most
 */

const NAMES = [
  "typeorm-0.3",
  "typeorm-1",
  "mikro-orm-6",
  "mikro-orm-7",
  "knex",
  "kysely",
  "kysely-controlled",
  "sequelize",
  "prisma-6",
  "prisma-7",
  "pg",
  "postgres-js",
  "drizzle-node-postgres",
  "drizzle-postgres-js",
];

/** @type {{ name: string, title: string, open: Opener }[]} */
const LIBRARIES = NAMES.map((name) => ({ name, ...require(`./${name}`) }));

/** A library by its name. */
function libraryNamed(name) {
  return LIBRARIES.find((library) => library.name === name);
}

module.exports = { LIBRARIES, libraryNamed };
