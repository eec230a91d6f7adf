"use strict";

// Every block of code in every document is run as it is printed, and every link leads somewhere.

const { execFile, spawn } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { promisify } = require("node:util");
const { Client } = require("pg");
const { Raw } = require("typeorm");
const { IdempotencyKeyService } = require("..");
const { policyFrom } = require("../lib/http/policy");
const { ROOT, anchorsOf, blocksOf, documentNames, linksOf } = require("./helpers/documents");
const { rejection, useDatabase } = require("./helpers/database");
const { eventually } = require("./helpers/flows");
const { ask } = require("./helpers/http-client");
const { EXAMPLE } = require("./helpers/medusa-installed");

const MODULES = path.join(ROOT, "node_modules");
const DOCUMENTS = documentNames();
/** Documents whose blocks another test holds, each with a test of its own that leaves none out. */
const HELD_ELSEWHERE = {
  "docs/conformance.md": "framework-docs.test.js",
  "docs/frameworks/express.md": "framework-docs.test.js",
  "docs/frameworks/fastify.md": "framework-docs.test.js",
  "docs/frameworks/fetch.md": "framework-docs.test.js",
  "docs/frameworks/hono.md": "framework-docs.test.js",
  "docs/frameworks/koa.md": "framework-docs.test.js",
  "docs/frameworks/nest.md": "framework-docs.test.js",
  "docs/install.md": "install-docs.test.js",
  "docs/transactions.md": "transactions-docs.test.js",
};
const INSTALLED = path.join(EXAMPLE, "node_modules");
/** On a busy machine. */
const COMPILE_TIMEOUT = 120_000;
/** Migrating and seeding the first database of a server included. */
const SHOP_TIMEOUT = 180_000;
/** Languages of pictures and of printed output, which cannot be run. */
const PICTURES = ["text", "mermaid"];

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

function heldElsewhere(name) {
  return Object.hasOwn(HELD_ELSEWHERE, name);
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

/** Runs code that awaits. */
async function evaluateAsync(code, given) {
  const AsyncFunction = (async () => {}).constructor;
  await new AsyncFunction(...Object.keys(given), code)(...Object.values(given));
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
      const again = await complete(key);
      expect(again).toMatchObject({ status: 201, body: first.body });
      expect(again.headers["idempotent-replayed"]).toBe("true");
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
      expect(/^idempotent-replayed: true/im.test(stdout)).toBe(repeat === 1);
      expect(stdout).toMatch(/\{"order":\{"id":"\d+"\}\}$/);
    }
  });
});

test("the loop that users write by hand", async () => {
  const complete = evaluate(block("docs/standalone.md", "js", "switch (").code, "complete", {
    service,
  });
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
  const payOut = evaluate(block("docs/standalone.md", "js", "bank.send").code, "payOut", given);
  const job = { id: randomUUID(), amount: 5 };
  expect((await rejection(payOut(job))).message).toBe("the bank does not answer");
  expect(await payOut(job)).toEqual({ transfer: 5 });
  expect(await payOut(job)).toEqual({ transfer: 5 });
  expect(sent).toEqual([sent[0], sent[0]]);
});

test("a server that answers by handle()", async () => {
  const given = { require, service, tenantOf: () => "tenant" };
  const server = evaluate(block("docs/http.md", "js", "service.handle").code, "server", given);
  endings.push(() => new Promise((resolve) => server.close(resolve)));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}/payments`;
  const [key, cart] = [randomUUID(), randomUUID()];
  const pay = (body) => ask(url, { key, body }).answer;
  for (const replayed of [undefined, "true"]) {
    const answer = await pay({ cart, amount: 5 });
    expect(answer).toMatchObject({ status: 201, body: { paid: true } });
    expect(answer.headers).toMatchObject({ location: `/payments/${cart}` });
    expect(answer.headers["idempotent-replayed"]).toBe(replayed);
  }
  expect(await pay({ cart, amount: 6 })).toMatchObject({
    status: 422,
    body: { code: "idempotency_key_reused" },
  });
  expect((await ask(url, { key: randomUUID(), body: { amount: "none" } }).answer).status).toBe(500);
  const { rows } = await database.pool.query("SELECT amount FROM payment WHERE cart_id = $1", [
    cart,
  ]);
  expect(rows).toEqual([{ amount: 5 }]);
});

test("a scope", async () => {
  const options = evaluate(block("docs/http.md", "js", "tenantId").code, "options");
  const native = { user: { tenantId: "t" } };
  const request = { key: randomUUID(), method: "POST", path: "/", native };
  await service.handle(request, () => ({}), options);
  const own = { ...request, native: undefined, scope: "t" };
  expect(await service.handle(own, () => ({}))).toMatchObject({ replayed: true });
});

test("an interrupted request is found and released", async () => {
  const impatient = database.service({ leaseTimeout: 1 });
  const key = randomUUID();
  const attempt = await impatient.begin({ key, method: "POST", path: "/payouts" });
  const { code } = block("docs/exactly-once.md", "js", "interrupted: true");
  await eventually(async () => {
    await evaluateAsync(code, { service: impatient });
    return (await impatient.retrieve(key)).locked_at === null;
  });
  expect(await rejection(attempt.release())).toMatchObject({ code: "idempotency_key_released" });
});

test("a stage's key for a provider", async () => {
  const { code } = block("docs/exactly-once.md", "js", "provider.charge");
  const charges = [];
  const provider = { charge: async (...given) => charges.push(given) };
  await evaluateAsync(code, { provider, service, key: "k", amount: 5 });
  expect(charges).toEqual([[{ amount: 5 }, { idempotencyKey: service.stageKey("k", "charge") }]]);
});

test("a Medusa's configuration", () => {
  const plugins = evaluate(block("docs/medusa-v1.md", "js", "const plugins").code, "plugins");
  expect(plugins).toEqual(["medusa-idempotency-key"]);
  const [plugin] = evaluate("", `[${block("docs/medusa-v1.md", "js", "resolve:").code}]`);
  expect(plugin.resolve).toBe("medusa-idempotency-key");
  new IdempotencyKeyService({}, plugin.options);
});

test("a selector with SQL of one's own", async () => {
  const { code } = block("docs/methods.md", "js", "Raw(");
  const path = `/raw/${randomUUID()}`;
  const { idempotency_key: made } = await service.create({ request_path: path });
  const then = "if (key.idempotency_key !== made) throw new Error('another key');";
  await evaluateAsync(`${code}${then}`, { Raw, made, path, service });
});

test("a subclass", async () => {
  const given = { IdempotencyKeyService };
  const MyKeys = evaluate(block("docs/methods.md", "js", "class MyKeys").code, "MyKeys", given);
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
      "service.ts": block("docs/medusa-v1.md", "ts", "extends IdempotencyKeyService").code,
      "api.ts": block("docs/medusa-v1.md", "ts", "export default () =>").code,
      "route.ts":
        "declare const req: { scope: { resolve(name: string): any } };\nexport {};\n" +
        block("docs/medusa-v1.md", "ts", "req.scope.resolve").code,
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

test(
  "the Medusa v1 example in a program, and asked by curl",
  async () => {
    const README = "examples/medusa-v1/README.md";
    const folder = path.join(ROOT, path.dirname(README));
    const { code } = block(README, "sh", "curl");
    let curled;
    /** The example's own, and asked by curl as soon as it is there: a second backend takes long to start. */
    async function startBackendProcess(options) {
      const backend = await require(path.join(folder, "backend")).startBackendProcess(options);
      const command = code.replaceAll("localhost:9000", new URL(backend.url).host);
      curled = (await promisify(execFile)("/bin/sh", ["-c", command])).stdout;
      return backend;
    }
    const printed = [];
    const given = {
      require: (name) =>
        name === "./backend" ? { startBackendProcess } : require(path.join(folder, name)),
      console: { log: (...values) => printed.push(values) },
    };
    const program = block(README, "js", "startBackendProcess").code;
    await evaluateAsync(
      program.replace("postgres://localhost/postgres", process.env.TEST_DATABASE_URL),
      given,
    );
    expect(printed).toEqual([[200, "k1", expect.stringMatching(/^order_/)]]);
    expect(curled.match(/HTTP\/1.1 200 OK/g)).toHaveLength(2);
    expect(curled).toContain('"idempotency_key":"1"');
    expect(curled).toContain('"variant_id":"variant_mug"');
  },
  SHOP_TIMEOUT,
);

/** Whether a line of a shell block names a script, a file or a folder that exists. */
function isKnownCommand(line, folder) {
  const { scripts } = require("../package.json");
  const [, script] = /^npm (?:run )?([\w:]+)/.exec(line) ?? [];
  const [, file] = /^(?:node|cd) (\S+)/.exec(line) ?? [];
  return (
    Object.hasOwn(scripts, script) ||
    ["install", "ci"].includes(script) ||
    (file !== undefined && fs.existsSync(path.join(folder, file))) ||
    /^(cargo bench|export \w+=)/.test(line)
  );
}

test("commands exist", () => {
  const commands = blocks.filter(
    ({ name, language, code }) => language === "sh" && !/curl/.test(code) && !heldElsewhere(name),
  );
  for (const each of commands) {
    used.add(each);
    let folder = ROOT;
    for (const line of each.code.trim().split("\n")) {
      expect([each.name, line, isKnownCommand(line, folder)]).toEqual([each.name, line, true]);
      const [, entered] = /^cd (\S+)/.exec(line) ?? [];
      folder = entered ? path.join(folder, entered) : folder;
    }
  }
});

test("no block of code is left out", () => {
  const left = blocks.filter(
    (each) => !used.has(each) && !PICTURES.includes(each.language) && !heldElsewhere(each.name),
  );
  expect(left).toEqual([]);
  for (const file of Object.values(HELD_ELSEWHERE)) {
    expect(fs.existsSync(path.join(__dirname, file))).toBe(true);
  }
});

/** What a link of a document leads to, if it is missing. */
function missingTarget(name, link) {
  const [file, anchor] = link.split("#");
  const target = file ? path.posix.join(path.posix.dirname(name), file) : name;
  const isThere =
    fs.existsSync(path.join(ROOT, target)) &&
    (anchor === undefined || (target.endsWith(".md") && anchorsOf(target).has(anchor)));
  return isThere ? [] : [link];
}

test.each(DOCUMENTS)("the links of %s lead somewhere", (name) => {
  const relative = linksOf(name).filter((link) => !/^[a-z]+:/.test(link));
  expect(relative.flatMap((link) => missingTarget(name, link))).toEqual([]);
});

test("the tests that show the promises exist", () => {
  const readme = fs.readFileSync(path.join(ROOT, "README.md"), "utf8");
  const rows = readme.split("\n").filter((line) => /^\| \[.*" in \[/.test(line));
  const shown = rows.flatMap((row) => [...row.matchAll(/"([^"]+)" in \[[^\]]+\]\(([^)]+)\)/g)]);
  expect(shown.length).toBeGreaterThan(5);
  const missing = shown.filter(
    ([, title, file]) => !fs.readFileSync(path.join(ROOT, file), "utf8").includes(title),
  );
  expect(missing.map(([row]) => row)).toEqual([]);
});

describe("the reference is whole", () => {
  const textOf = (name) => fs.readFileSync(path.join(ROOT, name), "utf8");
  /** The names in backticks that rows of a document's tables begin with. */
  const firstCells = (name) =>
    textOf(name)
      .split("\n")
      .flatMap((line) => /^\| (`[^|]*)\|/.exec(line)?.[1].match(/`\w+/g) ?? [])
      .map((cell) => cell.slice(1));

  test("docs/options.md has every option, and no other", () => {
    const refused = thrown(() => new IdempotencyKeyService({}, { none: 1 }));
    const [, known] = /; there are (.*)$/.exec(refused.message);
    expect(firstCells("docs/options.md").sort()).toEqual(known.split(", ").sort());
  });

  test("docs/methods.md has every method", () => {
    const methods = Object.getOwnPropertyNames(IdempotencyKeyService.prototype).filter(
      (name) =>
        typeof Object.getOwnPropertyDescriptor(IdempotencyKeyService.prototype, name).value ===
        "function",
    );
    const left = methods.filter((name) => !firstCells("docs/methods.md").includes(name));
    expect(left).toEqual(["constructor"]);
  });

  test("docs/http.md has every option of handle(), and no other", () => {
    const refused = thrown(() => policyFrom({ none: 1 }));
    const [, known] = /; there are (.*)$/.exec(refused.message);
    const [, section] = textOf("docs/http.md").split("## The options");
    const [table] = section.split("## ");
    const named = [...table.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name);
    expect(named.sort()).toEqual(known.split(", ").sort());
  });

  test("docs/errors.md has every code of the types", () => {
    const [, codes] = /export type IdempotencyErrorCode =([^;]*);/.exec(textOf("index.d.ts"));
    const named = [...codes.matchAll(/"(\w+)"/g)].map(([, code]) => code);
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((code) => !textOf("docs/errors.md").includes(`\`${code}\``))).toEqual([]);
  });
});

function thrown(action) {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
