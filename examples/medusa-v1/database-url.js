"use strict";

/**
 * `pg` alone takes `sslmode=require` for `verify-full`; with this it means what it means to libpq.
 *
 * @param {string} databaseUrl
 * @returns {string} for `pg`, TypeORM and Medusa; libpq itself refuses it
 */
function forPg(databaseUrl) {
  if (!URL.canParse(databaseUrl)) {
    // Without repeating it, as it may hold a password.
    throw new Error("DATABASE_URL has to be like postgres://user:password@host:5432/database");
  }
  const url = new URL(databaseUrl);
  url.searchParams.set("uselibpqcompat", "true");
  return url.href;
}

module.exports = { forPg };
