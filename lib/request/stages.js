"use strict";

const { withStatusOfDriver } = require("../errors/http-errors");
const { Work } = require("../places/work");
const { keyText, recoveryPointOf } = require("../values/arguments");
const { newLease } = require("./attempt-leases");

/** A stage that is refused with these is another attempt's, or another call's of the same attempt. */
const REFUSALS = ["idempotency_key_in_use", "lease_lost"];

/**
 * Runs a stage as the attempt that the key is of. If it fails, its lease is released, so that the request can be
 * tried again.
 *
 * @param {import("../places/context").Context} context
 * @param {string | object} key
 * @param {(manager: object) => unknown} callback
 */
async function workStage(context, key, callback) {
  const { place, semantics } = context;
  const lease = semantics.leaseOf(context, key, newLease);
  const work = new Work(async (manager) => semantics.stageResultOf(await callback(manager)));
  try {
    const given = { text: keyText(key), recoveryPoint: recoveryPointOf(key) };
    return lease.keep(await place.stage(given, lease, work));
  } catch (error) {
    if (work.started || !REFUSALS.includes(error?.code)) {
      await released(place, lease);
    }
    throw work.failedWith(error) ? error : withStatusOfDriver(error);
  }
}

/**
 * Releases the lease of an attempt that has failed. A transaction that somebody else will end still holds the
 * key's row: to wait for the release here would be to wait for ever.
 */
async function released({ isInTransaction }, lease) {
  const release = lease.release();
  if (!isInTransaction) {
    await release;
  }
}

module.exports = { released, workStage };
