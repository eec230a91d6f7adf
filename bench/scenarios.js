"use strict";

// What is measured: an input, made outside of the measured time, and the call that takes it.

const { randomUUID } = require("node:crypto");
const { REQUEST, RECOVERY_POINT } = require("./keys");

const CALLERS = [1, 64];
/** More than any peer locks in a second. */
const LOCKS_PER_SECOND = 25_000;

const request = () => ({ ...REQUEST });
const change = () => ({ recovery_point: RECOVERY_POINT });

/**
 * @param {import("./keys").Keys} keys
 * @returns scenarios:
 *   `input` makes what one call takes, `undefined` ends the round;
 *   `prepare` comes before a round of so many seconds;
 *   `target` is the highest ratio to `pg` that one caller's p50 may have
 */
function scenariosOn(keys) {
  return [
    {
      name: "create",
      operation: "create",
      target: 1.3,
      input: request,
      call: (peer, payload) => peer.create(payload),
    },
    {
      name: "retrieve",
      operation: "retrieve",
      target: 1.3,
      input: () => keys.known(),
      call: (peer, key) => peer.retrieve(key),
    },
    {
      name: "update",
      operation: "update",
      target: 1.3,
      input: () => keys.known(),
      call: (peer, key) => peer.update(key, change()),
    },
    {
      name: "lock",
      operation: "lock",
      prepare: (seconds) => keys.stock(Math.ceil(LOCKS_PER_SECOND * seconds)),
      input: () => keys.fresh(),
      call: (peer, key) => peer.lock(key),
    },
    {
      name: "initializeRequest, new",
      operation: "initializeRequest",
      input: () => randomUUID(),
      call: (peer, key) => peer.initializeRequest(key, request()),
    },
    {
      name: "initializeRequest, known",
      operation: "initializeRequest",
      input: () => keys.known(),
      call: (peer, key) => peer.initializeRequest(key, request()),
    },
    {
      name: "workStage",
      operation: "workStage",
      input: () => keys.known(),
      call: (peer, key) => peer.workStage(key, change),
    },
  ];
}

module.exports = { CALLERS, scenariosOn };
