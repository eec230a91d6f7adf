"use strict";

// Every piece of code in the README and in docs/ is run as it is printed.

const { execFile, spawn } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { promisify } = require("node:util");
const { Client } = require("pg");
const { IdempotencyKeyService } = require("..");
const { rejection, useDatabase } = require("./helpers/database");
const { eventually } = require("./helpers/flows");
const { ask } = require("./helpers/http-client");
const { EXAMPLE } = require("./helpers/medusa-installed");

const ROOT = path.join(__dirname, "..");
const MODULES = path.join(ROOT, "node_modules");
const INSTALLED = path.join(EXAMPLE, "node_modules");
const DOCUMENTS = ["README.md", "docs/exactly-once.md", "CONTRIBUTING.md"];
/** On a busy machine. */
const COMPILE_TIMEOUT = 120_000;
/** What is shown, and cannot be run. */
const SHOWN = ["text", "mermaid"];

const database = useDatabase();
const endings = [];
const blocks = DOCUMENTS.flatMap((name) => blocksOf(name));
const used = new Set();
let service;

beforeAll(async () => {
  service = database.service();
  await database.pool.query(block("README.md", "sql", "CREATE TABLE payment").code);
});

afterEach(async () => {
  for (const end of endings.splice(0)) {
    await end();
  }
});

function blocksOf(name) {
  const text = fs.readFileSync(path.join(ROOT, name), "utf8");
  const found = [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)];
  return found.map(([, language, code]) => ({ name, language, code }));
}

/** The one block of a document that has a text in it. */
function block(name, language, text) {
  const found = blocks.filter(
    (each) => each.name === name && each.language === language && each.code.includes(text),
  );
  expect(found).toHaveLength(1);
  used.add(found[0]);
  return found[0];
}

function temporaryFolder(modules = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "idempotency-documents-"));
  endings.push(() => fs.rmSync(folder, { recursive: true, force: true }));
  for (const [name, target] of Object.entries(modules)) {
    const link = path.join(folder, "node_modules", name);
    fs.mkdirSync(path.dirname(link), { recursive: true });
    fs.symlinkSync(target, link, "junction");
  }
  return folder;
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What the code defines under a name. */
function evaluate(code, name, given = {}) {
  return new Function(...Object.keys(given), `${code}\nreturn ${name};`)(...Object.values(given));
}

describe("the quick start", () => {
  /** Starts app.js in a folder of its own, with the installed Express. */
  async function startApp(express) {
    const folder = temporaryFolder({
      "medusa-idempotency-key": ROOT,
      express: path.join(MODULES, express),
    });
    const file = path.join(folder, "app.js");
    fs.writeFileSync(file, block("README.md", "js", "app.listen").code);
    const port = await freePort();
    const env = { ...process.env, DATABASE_URL: database.url, PORT: String(port) };
    const child = spawn(process.execPath, [file], { cwd: folder, env, stdio: "inherit" });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    endings.push(async () => {
      child.kill();
      await exited;
    });
    const url = `http://127.0.0.1:${port}`;
    expect(
      await eventually(() =>
        ask(url).answer.then(
          () => true,
          () => false,
        ),
      ),
    ).toBe(true);
    return { url, child };
  }

  test.each(["express-4", "express"])(
    "runs under %s, and answers what it says",
    async (express) => {
      const { url, child } = await startApp(express);
      const cart = randomUUID();
      const complete = (key, amount = 50) =>
        ask(`${url}/carts/${cart}/complete`, { key, body: { amount } }).answer;
      const key = randomUUID();

      const first = await complete(key);
      expect(first).toMatchObject({ status: 201, body: { order: { id: expect.any(String) } } });
      expect(first.headers["idempotency-key"]).toBe(key);
      expect(await complete(key)).toMatchObject({ status: 201, body: first.body });
      expect(await complete(key, 70)).toMatchObject({
        status: 422,
        body: { code: "idempotency_key_reused" },
      });
      expect(await complete("not a key")).toMatchObject({
        status: 400,
        body: { code: "invalid_idempotency_key" },
      });

      const holder = new Client({ connectionString: database.url });
      await holder.connect();
      await holder.query('BEGIN; LOCK TABLE "order"');
      const busy = randomUUID();
      const slow = complete(busy);
      await eventually(async () => {
        const sql = "SELECT recovery_point FROM idempotency_key WHERE idempotency_key = $1";
        return (await database.pool.query(sql, [busy])).rows[0]?.recovery_point === "paid";
      });
      const refused = await complete(busy);
      expect(refused).toMatchObject({ status: 409, body: { code: "idempotency_key_in_use" } });
      expect(refused.headers["retry-after"]).toBe("1");
      await holder.end();
      expect(await slow).toMatchObject({ status: 201 });

      const counts = await database.pool.query(
        `SELECT (SELECT count(*)::int FROM payment WHERE cart_id = $1) AS payments,
              (SELECT count(*)::int FROM "order" WHERE cart_id = $1) AS orders`,
        [cart],
      );
      expect(counts.rows).toEqual([{ payments: 2, orders: 2 }]);
      expect(child.exitCode).toBeNull();
    },
  );

  test("is asked as it says", async () => {
    const { url } = await startApp("express");
    const { code } = block("README.md", "sh", "curl");
    const command = code.replace("http://localhost:3000", url);
    for (let repeat = 0; repeat < 2; repeat += 1) {
      const { stdout } = await promisify(execFile)("/bin/sh", ["-c", command]);
      expect(stdout).toMatch(/^HTTP\/1.1 201 Created/);
      expect(stdout).toContain("Idempotency-Key: 1d3e7a5c");
      expect(stdout).toMatch(/\{"order":\{"id":"\d+"\}\}$/);
    }
  });
});

test("the loop that users write by hand", async () => {
  const complete = evaluate(block("README.md", "js", "switch (").code, "complete", { service });
  const key = randomUUID();
  const request = { get: () => key, method: "POST", params: { id: key }, path: "/complete" };
  expect(await complete(request)).toMatchObject({ idempotency_key: key, response_code: 201 });
  expect(await complete(request)).toMatchObject({ response_code: 201 });
  const { rows } = await database.pool.query("SELECT amount FROM payment WHERE cart_id = $1", [
    key,
  ]);
  expect(rows).toEqual([{ amount: 50 }]);
});

test("work that is no HTTP request", async () => {
  const sent = [];
  let fails = true;
  const bank = {
    async send(amount, { idempotencyKey }) {
      sent.push(idempotencyKey);
      if (fails) {
        fails = false;
        throw new Error("the bank does not answer");
      }
      return amount;
    },
  };
  const given = { service, bank };
  const payOut = evaluate(block("README.md", "js", "bank.send").code, "payOut", given);
  const job = { id: randomUUID(), amount: 5 };
  expect((await rejection(payOut(job))).message).toBe("the bank does not answer");
  expect(await payOut(job)).toEqual({ transfer: 5 });
  expect(await payOut(job)).toEqual({ transfer: 5 });
  expect(sent).toEqual([sent[0], sent[0]]);
});

test("an interrupted request is found and released", async () => {
  const impatient = database.service({ leaseTimeout: 1 });
  const key = randomUUID();
  const attempt = await impatient.begin({ key, method: "POST", path: "/payouts" });
  const { code } = block("docs/exactly-once.md", "js", "interrupted: true");
  const AsyncFunction = (async () => {}).constructor;
  await eventually(async () => {
    await new AsyncFunction("service", code)(impatient);
    return (await impatient.retrieve(key)).locked_at === null;
  });
  expect(await rejection(attempt.release())).toMatchObject({ code: "idempotency_key_released" });
});

test("a stage's key for a provider", async () => {
  const { code } = block("docs/exactly-once.md", "js", "provider.charge");
  const charges = [];
  const provider = { charge: async (...given) => charges.push(given) };
  const AsyncFunction = (async () => {}).constructor;
  await new AsyncFunction("provider", "service", "key", "amount", code)(provider, service, "k", 5);
  expect(charges).toEqual([[{ amount: 5 }, { idempotencyKey: service.stageKey("k", "charge") }]]);
});

test("a Medusa's configuration", () => {
  const plugins = evaluate(block("README.md", "js", "const plugins").code, "plugins");
  expect(plugins).toEqual(["medusa-idempotency-key"]);
  const [plugin] = evaluate("", `[${block("README.md", "js", "resolve:").code}]`);
  expect(plugin.resolve).toBe("medusa-idempotency-key");
  new IdempotencyKeyService({}, plugin.options);
});

test("a subclass", async () => {
  const given = { IdempotencyKeyService };
  const MyKeys = evaluate(block("README.md", "js", "class MyKeys").code, "MyKeys", given);
  const keys = await database.service({}, MyKeys).createPair();
  expect(keys).toHaveLength(2);
  for (const { idempotency_key: key } of keys) {
    expect(await service.retrieve(key)).toMatchObject({ recovery_point: "started" });
  }
});

test(
  "the TypeScript of a Medusa project compiles, and runs",
  async () => {
    const folder = temporaryFolder(
      Object.fromEntries(
        ["@medusajs", "@types", "typeorm"].map((name) => [name, path.join(INSTALLED, name)]),
      ),
    );
    const ours = path.join(folder, "node_modules/medusa-idempotency-key");
    fs.mkdirSync(ours);
    for (const file of fs.readdirSync(ROOT)) {
      if (/^package\.json$|^(index|medusa)\.(js|d\.ts)$/.test(file)) {
        fs.copyFileSync(path.join(ROOT, file), path.join(ours, file));
      }
    }
    fs.symlinkSync(path.join(ROOT, "lib"), path.join(ours, "lib"), "junction");
    const sources = {
      "service.ts": block("README.md", "ts", "extends IdempotencyKeyService").code,
      "api.ts": block("README.md", "ts", "export default () =>").code,
      "route.ts":
        "declare const req: { scope: { resolve(name: string): any } };\nexport {};\n" +
        block("README.md", "ts", "req.scope.resolve").code,
    };
    for (const [name, code] of Object.entries(sources)) {
      fs.writeFileSync(path.join(folder, name), code);
    }
    const options =
      "--strict --skipLibCheck --experimentalDecorators --esModuleInterop --target es2019 --module commonjs";
    const tsc = path.join(INSTALLED, "typescript/lib/tsc.js");
    const args = [tsc, ...options.split(" "), ...Object.keys(sources)];
    await promisify(execFile)(process.execPath, args, { cwd: folder }).catch(({ stdout }) => {
      throw new Error(stdout);
    });
    const run = `
    const { default: Service } = require("./service");
    const { default: api } = require("./api");
    if (typeof new Service({}).create !== "function" || typeof api() !== "function") process.exit(1);
  `;
    await promisify(execFile)(process.execPath, ["-e", run], { cwd: folder });
  },
  COMPILE_TIMEOUT,
);

test("commands exist", () => {
  const { scripts } = require("../package.json");
  for (const each of blocks.filter(
    ({ language, code }) => language === "sh" && !/curl/.test(code),
  )) {
    used.add(each);
    for (const line of each.code.trim().split("\n")) {
      const [command] = line.split("#");
      const [, script] = /^npm (?:run )?([\w:]+)/.exec(command) ?? [];
      const [, file] = /^node (\S+)/.exec(command) ?? [];
      const isKnown =
        Object.hasOwn(scripts, script) ||
        ["install", "ci"].includes(script) ||
        (file && fs.existsSync(path.join(ROOT, file)));
      expect([line, Boolean(isKnown) || /^cargo bench/.test(command)]).toEqual([line, true]);
    }
  }
});

test("no piece of code is left out", () => {
  const left = blocks.filter((each) => !used.has(each) && !SHOWN.includes(each.language));
  expect(left).toEqual([]);
});
