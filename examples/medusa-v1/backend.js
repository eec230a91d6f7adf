"use strict";

// A real Medusa v1: in this process, as `startBackend`, or as a process of its own.

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const { createRequire } = require("node:module");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { medusaEnvironment } = require("./environment");

const START_TIMEOUT = 120_000;
const STOP_TIMEOUT = 20_000;
/** For what an ended process has printed to arrive. */
const OUTPUT_TIMEOUT = 1_000;

/**
 * Starts Medusa in this process. One process can hold one: Medusa keeps its connections, its
 * entities and its container in variables of its modules.
 *
 * @param {{
 *   databaseUrl: string,
 *   service?: "medusa" | "ours",
 *   directory?: string,
 *   port?: number,
 * }} options `databaseUrl`: of a prepared database; `directory`: of the Medusa project, by default
 *   this one; `port`: by default any that is free
 * @returns {Promise<{ url: string, container: any, stop(): Promise<void> }>}
 */
async function startBackend({ databaseUrl, service = "ours", directory = __dirname, port = 0 }) {
  Object.assign(process.env, medusaEnvironment({ databaseUrl, service }));
  const projectRequire = createRequire(path.join(directory, "package.json"));
  // What Medusa depends on, from where Medusa finds it.
  const medusaRequire = createRequire(projectRequire.resolve("@medusajs/medusa/package.json"));
  const app = medusaRequire("express")();
  const medusa = await loadMedusa(app, directory, medusaRequire);
  const server = app.listen(port, "127.0.0.1");
  await once(server, "listening");
  let stopped;
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    container: medusa.container,
    stop() {
      stopped ??= stop(server, medusa);
      return stopped;
    },
  };
}

/** Medusa resolves plugins and modules from the working directory. */
async function loadMedusa(expressApp, directory, medusaRequire) {
  const workingDirectory = process.cwd();
  process.chdir(directory);
  const restoreConsole = isVerbose() ? () => {} : silenceWhatIsNotLogged(medusaRequire);
  try {
    const load = medusaRequire("./dist/loaders").default;
    return await load({ directory, expressApp, isTest: false });
  } finally {
    restoreConsole();
    process.chdir(workingDirectory);
  }
}

function isVerbose() {
  return process.env.LOG_LEVEL === "silly";
}

/** Requests and some warnings go past Medusa's logger. */
function silenceWhatIsNotLogged(medusaRequire) {
  medusaRequire("morgan").format("combined", () => undefined);
  // The inherited one says that it is called, each time that the manual plugin fulfills something.
  medusaRequire("medusa-interfaces").BaseService.prototype.withTransaction = function () {
    return this;
  };
  const { log, warn } = console;
  console.log = () => {};
  console.warn = () => {};
  return () => Object.assign(console, { log, warn });
}

async function stop(server, medusa) {
  const closed = once(server, "close");
  server.close();
  await closed;
  // Medusa leaves this loop running. It looks up every three seconds, which nobody has to wait for.
  const { eventBusService } = medusa.container.cradle;
  eventBusService.stopEnqueuer().catch(() => {});
  await medusa.prepareShutdown();
  await medusa.shutdown();
}

/**
 * Starts Medusa in a process of its own, which ends with this one at the latest. Nothing is
 * printed.
 *
 * @param {{
 *   databaseUrl: string,
 *   service?: "medusa" | "ours",
 *   directory?: string,
 *   env?: Record<string, string | undefined>,
 *   signal?: AbortSignal,
 * }} options `directory`: of the Medusa project, by default this one; `env` goes before everything
 *   else: `IDEMPOTENCY_OPTIONS` has the plugin's options as JSON, `PORT` the port, by default any
 *   that is free; `signal` gives up the start, and does nothing later
 * @returns {Promise<{
 *   url: string,
 *   pid: number,
 *   kill(signal?: NodeJS.Signals): Promise<void>,
 *   stop(): Promise<void>,
 *   log(): string,
 * }>} once it answers; `kill` (by default SIGKILL) and `stop` resolve when it has ended; `log()` has
 *   Medusa's errors, and all that it says where `env.LOG` is `"1"`: what has arrived so far, and all
 *   of it after `kill` and `stop`
 */
async function startBackendProcess({
  databaseUrl,
  service = "ours",
  directory = __dirname,
  env = {},
  signal,
}) {
  signal?.throwIfAborted();
  const child = spawn(process.execPath, [__filename, directory], {
    cwd: directory,
    env: {
      ...process.env,
      DATABASE_URL: databaseUrl,
      IDEMPOTENCY_SERVICE: service,
      PORT: "0",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  const output = collect(child);
  const ended = once(child, "exit");
  try {
    const url = await untilAnswering(child, ended, output, signal);
    forHandles(child, "unref");
    return { url, pid: child.pid, log: output.text, ...endings(child, ended, output) };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

function collect(child) {
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
    });
  }
  return { text: () => text, complete: new Promise((resolve) => child.once("close", resolve)) };
}

async function untilAnswering(child, ended, output, signal) {
  const failed = ended.then(([code, signal]) => {
    throw new Error(`Medusa ended with ${code ?? signal} before it listened:\n${output.text()}`);
  });
  const late = sleep(START_TIMEOUT, undefined, { ref: false }).then(() => {
    throw new Error(`Medusa did not listen within ${START_TIMEOUT} ms:\n${output.text()}`);
  });
  const [{ url }] = await Promise.race([once(child, "message", { signal }), failed, late]);
  const health = await fetch(`${url}/health`, { signal });
  if (health.status !== 200) {
    throw new Error(`Medusa answered ${health.status} on /health:\n${output.text()}`);
  }
  return url;
}

/**
 * Without `ref`, a backend that nobody stopped does not keep the process from ending that started it;
 * with `ref`, that process lasts until it has seen the backend's end.
 */
function forHandles(child, refOrUnref) {
  for (const handle of [child, child.channel, child.stdout, child.stderr]) {
    handle?.[refOrUnref]();
  }
}

function endings(child, ended, output) {
  const kill = async (signal = "SIGKILL") => {
    forHandles(child, "ref");
    child.kill(signal);
    await ended;
    // What Medusa may have started and left behind would hold the pipes open for ever.
    await Promise.race([output.complete, sleep(OUTPUT_TIMEOUT, undefined, { ref: false })]);
    child.stdout.destroy();
    child.stderr.destroy();
  };
  const stop = async () => {
    const late = sleep(STOP_TIMEOUT, "late", { ref: false });
    if ((await Promise.race([kill("SIGTERM"), late])) === "late") {
      await kill("SIGKILL");
      throw new Error(`Medusa did not stop within ${STOP_TIMEOUT} ms:\n${output.text()}`);
    }
  };
  return { kill, stop };
}

async function main() {
  process.env.LOG ||= "error";
  // pg 8.23 warns that pg 9 will not queue queries, as TypeORM 0.3.16 does.
  process.noDeprecation = process.env.LOG === "error";
  const starting = startBackend({
    databaseUrl: process.env.DATABASE_URL,
    service: process.env.IDEMPOTENCY_SERVICE || "ours",
    directory: process.argv[2],
    port: Number(process.env.PORT ?? 9000),
  });
  // As `medusa start` does; else the process would last as long as Medusa's loop sleeps.
  const end = () => starting.then((backend) => backend.stop()).then(() => process.exit(0));
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.once(signal, end);
  }
  // The process that started this one is gone.
  process.once("disconnect", end);
  const { url } = await starting;
  console.log(url);
  process.send?.({ url });
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = { startBackend, startBackendProcess };
