"use strict";

const { Lease, NO_LEASE } = require("./leases");
const { warnOverdue } = require("./overdue");

// What a call uses as its lease where its attempt holds none of the key yet.

/** What those use who hold no lease, and will hold none for their call, by database. */
const nobodies = new WeakMap();

/** @param {import("../places/context").Context} context */
function newLease(context) {
  const database = context.database();
  const { leaseTimeout: duration, maxDuration } = context.settings;
  // Not the database itself, which a lease would keep alive.
  const { tell } = database;
  return new Lease(nativeLease(context, database), {
    duration,
    maxDuration,
    table: database.table,
    overdue: (route) => warnOverdue(tell, route),
  });
}

/** @param {import("../places/context").Context} context */
function nobodysLease(context) {
  const database = context.database();
  let lease = nobodies.get(database);
  if (!lease) {
    const native = nativeLease(context, database);
    lease = { ...NO_LEASE, use: (call) => call(native) };
    nobodies.set(database, lease);
  }
  return lease;
}

function nativeLease({ settings }, { native }) {
  return native.lease(settings.leaseTimeout);
}

module.exports = { newLease, nobodysLease };
