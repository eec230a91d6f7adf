// Starts what was built and orders twice: a standalone build in a folder of its own, as in a container's
// image, else by `next start`.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import { createServer } from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createIdempotency } from "medusa-idempotency-key";

const STANDALONE = ".next/standalone";
const START_TIMEOUT = 30_000;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

async function untilAnswering(url, server) {
  for (const deadline = Date.now() + START_TIMEOUT; Date.now() < deadline; await sleep(50)) {
    assert.equal(server.exitCode, null, "the server ended");
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok) {
      return;
    }
  }
  throw new Error("the server does not answer");
}

async function order(url) {
  const response = await fetch(`${url}/api/orders`, {
    method: "POST",
    headers: { "idempotency-key": "next-1" },
    body: JSON.stringify({ cart: 1 }),
  });
  return [response.status, await response.text()];
}

function start(port) {
  const env = { ...process.env, PORT: String(port), HOSTNAME: "127.0.0.1" };
  if (!fs.existsSync(STANDALONE)) {
    const next = fileURLToPath(import.meta.resolve("next/dist/bin/next"));
    return spawn(process.execPath, [next, "start", "-H", "127.0.0.1"], { env, stdio: "inherit" });
  }
  fs.cpSync(STANDALONE, folder, { recursive: true, verbatimSymlinks: true });
  return spawn(process.execPath, ["server.js"], { cwd: folder, env, stdio: "inherit" });
}

const folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "standalone-"));
await createIdempotency({ databaseUrl: process.env.DATABASE_URL }).migrate();
const port = await freePort();
const server = start(port);
try {
  const url = `http://127.0.0.1:${port}`;
  await untilAnswering(url, server);
  const first = await order(url);
  assert.equal(first[0], 201, first[1]);
  assert.deepEqual(await order(url), first);
  console.log("works in Next.js");
} finally {
  server.kill();
  await once(server, "exit");
  fs.rmSync(folder, { recursive: true, force: true });
}
