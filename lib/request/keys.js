"use strict";

const { randomUUID } = require("node:crypto");
const { unwrap } = require("../errors/errors");
const { keyText } = require("../values/arguments");
const { columnsOf, keyFrom } = require("../values/keys");
const { alternativesOf } = require("../values/selectors");
const { newLease, nobodysLease } = require("./attempt-leases");

// The operations on single keys. Their `context` is a service's: see places/context.js.

/** Inserts a key; one that is generated is written back into the payload. */
async function create(context, payload) {
  const isNew = payload.idempotency_key === undefined || payload.idempotency_key === null;
  const key = isNew ? randomUUID() : undefined;
  const [named, texts, long] = columnsOf(payload, key);
  if (isNew) {
    // Before the insert, so that a caller who repeats it repeats the same key.
    setKey(payload, key);
  }
  const operation = { create: [isNew, named, texts] };
  const answer = await context.place.run(operation, undefined, long);
  return keyFrom(unwrap(answer), payload);
}

function setKey(payload, key) {
  try {
    payload.idempotency_key = key;
  } catch {
    // One that is frozen stays as it is.
    Reflect.set(payload, "idempotency_key", key);
  }
}

/** Finds a key, or the one that a selector describes. */
async function retrieve(context, keyOrSelector) {
  return keyFrom(unwrap(await context.place.run(lookUp(keyOrSelector))));
}

function lookUp(keyOrSelector) {
  if (typeof keyOrSelector !== "object" || keyOrSelector === null) {
    return { retrieve: [keyText(keyOrSelector)] };
  }
  return { select: [JSON.stringify(alternativesOf(keyOrSelector))] };
}

/** Locks a key for `lockTimeout`. */
async function lock(context, key) {
  const operation = { lock: [keyText(key), context.settings.lockTimeout] };
  return runWith(context, leaseOf(context, key, newLease), { operation });
}

/** Changes columns of a key. */
async function update(context, key, columns) {
  const [named, texts, long] = columnsOf(columns);
  const operation = { update: [keyText(key), named, texts] };
  const lease = leaseOf(context, key, nobodysLease);
  return runWith(context, lease, { operation, own: columns, long });
}

/** Ends the lease of a key's request, so that it can be tried again at once. */
async function release(context, key, lease = leaseOf(context, key, nobodysLease)) {
  const operation = { release: [keyText(key), context.settings.leaseTimeout] };
  return runWith(context, lease, { operation });
}

/** Finishes the request of a key with an answer. */
function finish(context, key, answer, lease) {
  return runWith(context, lease, context.semantics.finishing(keyText(key), answer));
}

/** Runs an operation with a lease, which remembers the key that it resolves to. */
function runWith(context, lease, { operation, own, long }) {
  return lease.use(async (native) => {
    const answer = await context.place.run(operation, native, long);
    return lease.keep(keyFrom(unwrap(answer), own));
  });
}

function leaseOf(context, key, otherwise) {
  return context.semantics.leaseOf(context, key, otherwise);
}

module.exports = { create, finish, lock, release, retrieve, update };
