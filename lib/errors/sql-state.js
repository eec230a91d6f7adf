"use strict";

/** SQLSTATEs have a digit, system errors such as EPIPE have none. */
const SQL_STATE = /^(?=.*\d)[0-9A-Z]{5}$/;
/** Prisma's own codes are as long. */
const PRISMA_CODE = /^P[1-6]\d{3}$/;
const PRISMA_WRITE_CONFLICT = "P2034";

/** Where libraries keep the SQLSTATE of what the server has answered: the innermost first. */
const PLACES = [
  (error) => error.meta?.driverAdapterError?.cause?.originalCode,
  (error) => error.meta?.code,
  (error) => error.driverError?.code,
  (error) => error.original?.code,
  (error) => error.cause?.originalCode,
  (error) => error.cause?.code,
  (error) => error.code,
];

/**
 * The SQLSTATE that an error of the database has, whichever library it came through.
 *
 * @param {unknown} error
 * @returns {string | undefined} `"40001"`, say
 */
function sqlStateOf(error) {
  if (typeof error !== "object" || error === null) {
    return undefined;
  }
  for (const place of PLACES) {
    const code = valueAt(place, error);
    if (typeof code === "string" && SQL_STATE.test(code) && !PRISMA_CODE.test(code)) {
      return code;
    }
  }
  return undefined;
}

/** Even a getter that throws is not worth a second failure. */
function valueAt(place, error) {
  try {
    return place(error);
  } catch {
    return undefined;
  }
}

/**
 * Whether a transaction that has failed with this may succeed when it is repeated. Prisma's client says so with a code of
 * its own, which may be all that it tells.
 */
function isSerializationFailure(error) {
  return (
    ["40001", "40P01"].includes(sqlStateOf(error)) ||
    valueAt(({ code }) => code, error) === PRISMA_WRITE_CONFLICT
  );
}

module.exports = { isSerializationFailure, sqlStateOf };
