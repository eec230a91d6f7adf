"use strict";

const { isMainThread } = require("node:worker_threads");

/** Runtimes that look like Node, and have no libuv of Node's, or turn its loop in their own way. */
const OTHERS = ["bun", "deno", "electron", "nw"];

/**
 * Whether the engine may have this thread's event loop wait for what servers answer, in place of a thread of its own.
 * A worker's may not: connections would end with it.
 */
function mayJoinEventLoop() {
  const { env, versions } = process;
  const isNode = !OTHERS.some((name) => name in versions);
  return isNode && isMainThread && !env.IDEMPOTENCY_ENGINE_THREAD;
}

module.exports = { mayJoinEventLoop };
