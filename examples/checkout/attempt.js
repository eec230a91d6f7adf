"use strict";

const { fork } = require("node:child_process");
const path = require("node:path");

const WORKER = path.join(__dirname, "worker.js");
const TIMEOUT = 20_000;

/**
 * Tries the request once, in a process of its own.
 *
 * @param {object} request
 * @param {string} request.databaseUrl
 * @param {string} request.key
 * @param {string} request.cartId
 * @param {{ stage: string, moment: "middle" | "after" }} [killPoint] where the process kills itself
 * @param {{ signal?: AbortSignal, onProgress?: (seen: object) => void }} [options]
 * @returns {Promise<{ recoveryPoint: string, stages: string[], answer?: object }>} the recovery
 *   point that it found, the stages that it began, and its answer if it got that far; rejects when
 *   the process ended otherwise than it was meant to
 */
async function attempt({ databaseUrl, key, cartId }, killPoint, { signal, onProgress } = {}) {
  const seen = { recoveryPoint: undefined, stages: [], answer: undefined };
  let last;
  const receive = (message) => {
    last = message;
    seen.recoveryPoint ??= message.recoveryPoint;
    seen.answer ??= message.answer;
    if (message.moment === "middle") {
      seen.stages.push(message.stage);
    }
    onProgress?.(seen);
  };
  const worker = fork(WORKER, [key, cartId, ...(killPoint ? Object.values(killPoint) : [])], {
    // Certificates that Node would read at each start take longer than the start itself.
    env: { ...process.env, DATABASE_URL: databaseUrl, NODE_EXTRA_CA_CERTS: undefined },
    stdio: ["ignore", "inherit", "pipe", "ipc"],
    timeout: TIMEOUT,
    killSignal: "SIGKILL",
    signal,
  });
  worker.on("message", receive);
  const ending = await endOf(worker);
  const asMeant = killPoint
    ? ending.signal === "SIGKILL" && isAt(killPoint, last)
    : ending.code === 0 && seen.answer !== undefined;
  if (!asMeant) {
    throw new Error(unexpected(ending, killPoint));
  }
  return seen;
}

/** Resolves when the process has ended and everything it said has arrived. */
function endOf(worker) {
  return new Promise((resolve, reject) => {
    let stderr = "";
    worker.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
    worker.once("error", reject);
    worker.once("close", (code, signal) => resolve({ code, signal, stderr }));
  });
}

function isAt(killPoint, message) {
  return message?.stage === killPoint.stage && message?.moment === killPoint.moment;
}

function unexpected({ code, signal, stderr }, killPoint) {
  const meant = killPoint
    ? `be killed ${killPoint.moment === "middle" ? "in the middle of" : "after"} ${killPoint.stage}`
    : "answer";
  const ended = signal ? `was ended by ${signal}` : `ended with exit code ${code}`;
  return `the worker was to ${meant}, but ${ended}\n${stderr}`.trimEnd();
}

module.exports = { attempt };
