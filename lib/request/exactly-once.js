"use strict";

const { randomUUID } = require("node:crypto");
const { clientKey } = require("../bridge/binding");
const { unwrap } = require("../errors/errors");
const { headerText, keyText } = require("../values/arguments");
const keys = require("../values/keys");
const { scopedKey } = require("../values/scoped-keys");
const { newLease } = require("./attempt-leases");
const { beginWithStage } = require("./first-stage");
const { beginUnlessRefused } = require("./interrupted");
const { leaseOf: leaseOfAttempt, leaseOfRequest, untilReleased } = require("./leases");
const { columnsKnown, columnsSeen, isColumnGone } = require("./optional-columns");
const { currentRequest } = require("./request-context");
const { answerOf, stageResultOf } = require("./stage-results");

// Mode "exactly-once": the client's key is adopted, and whoever begins its request holds a lease of it.

/** Refuses also what is nearly a column's name: it would be ignored. */
function requireColumns(method, payload) {
  keys.requireColumns(method, payload);
  keys.requireSpelling(method, payload);
}

/**
 * Begins the request of a key, takes it over, or finds its answer.
 *
 * @param {import("../places/context").Context} context
 * @param {{ key?: unknown, scope?: string, method?: unknown, params?: unknown, path?: unknown, fingerprint?: string }}
 *   request
 * @param {string | Function} [onInterrupted] the option, or what takes its place
 */
function initialize(context, request, onInterrupted = context.settings.onInterrupted) {
  const told = toldOf(request);
  const key = storedKey(request);
  return beginUnlessRefused(onInterrupted, key, request, (refuseInterrupted) =>
    beginAlone(context, key, told, refuseInterrupted),
  );
}

function beginAlone(context, key, told, refuseInterrupted, longest = context.settings.waitTimeout) {
  // In somebody else's transaction nobody waits: the wait would hold its connection.
  const wait = context.place.isInTransaction ? 0 : longest;
  const lease = ownLease(context, key) ?? newLease(context);
  return asAttempt(context, key, told, (request) => {
    const initialize = [key, request, wait, refuseInterrupted];
    return lease.use(async (native) => {
      const answer = await context.place.run({ initialize }, native);
      return lease.keep(keys.keyFrom(unwrap(answer)), answer.outcome);
    });
  });
}

/**
 * Begins the request of a key, takes it over, or finds its answer. One that is new begins with its first stage, in
 * one transaction, unless requests have to be seen from their first moment.
 *
 * @param {import("../places/context").Context} context
 * @param {object} request as for initialize()
 * @param {import("./first-stage").FirstStage} firstStage
 */
async function begin(context, request, firstStage) {
  const { commitKeyFirst, onInterrupted } = context.settings;
  const told = toldOf(request);
  const key = storedKey(request);
  const alone = async (wait) => {
    // An interrupted request is always retried: its recovery point tells which stages are done.
    const begun = await beginAlone(context, key, told, false, wait);
    return { key: begun, lease: leaseOf(context, begun, newLease) };
  };
  const isSeenAtOnce = commitKeyFirst || onInterrupted !== "retry";
  if (context.place.isInTransaction || isSeenAtOnce || ownLease(context, key)?.isHeld) {
    return alone();
  }
  return asAttempt(context, key, told, (asked) =>
    beginWithStage(context, { key, request: asked }, firstStage, alone),
  );
}

/** The lease that the current request has already of a key. */
function ownLease(context, key) {
  return key && leaseOfRequest(context.database().table, key);
}

/** What tells a request from others, and whether the headers of its stored answer are asked for. */
function toldOf(request) {
  const { method, path, params } = keys.requestFrom(request);
  const { fingerprint, wantsHeaders: headers = false } = request;
  return { method, path, params, fingerprint, headers };
}

/** The key of a request as it is stored; undefined if it has none, nor a scope. */
function storedKey({ key: header, scope }) {
  const key = unwrap(clientKey(headerText(header))) ?? undefined;
  return key === undefined && scope === undefined
    ? undefined
    : scopedKey(scope, key ?? randomUUID());
}

/** Does what begins an attempt, with what tells its request from others. */
async function asAttempt(context, key, told, work) {
  const wanted = wantedColumns(told);
  const has = columnsKnown(context, wanted) ?? (await columnsSeen(context, wanted));
  const request = wanted.length === 0 ? told : withColumns(told, has);
  const released = untilReleased(context.database().table, key);
  if (released) {
    await released;
  }
  try {
    return await work(request);
  } catch (error) {
    isColumnGone(context, error);
    throw error;
  }
}

/** The optional columns for a request: of its fingerprint, given or that of the current HTTP request, and headers. */
function wantedColumns(told) {
  const wanted = fingerprintedOf(told) ? ["request_fingerprint"] : [];
  return told.headers ? [...wanted, "response_headers"] : wanted;
}

function fingerprintedOf(told) {
  return told.fingerprint === undefined ? currentRequest() : told;
}

/** A request with what needs an optional column, where the table has it. */
function withColumns(told, has) {
  return {
    ...told,
    fingerprint: has.request_fingerprint ? fingerprintedOf(told)?.fingerprint : undefined,
    headers: told.headers && has.response_headers === true,
  };
}

function leaseOf(context, key, otherwise) {
  const { table } = context.database();
  return leaseOfAttempt(table, keyText(key), key) ?? otherwise(context);
}

/** Only whoever holds the lease can finish a request. */
function finishing(key, answer) {
  const { stored, own } = answerOf(answer);
  const { responseCode = null, responseBody = null, responseHeaders = null } = stored;
  return { operation: { finish: [key, responseCode, responseBody, responseHeaders] }, own };
}

module.exports = {
  begin,
  finishing,
  initialize,
  leaseOf,
  repeatsThroughLibraries: true,
  requireColumns,
  stageResultOf,
};
