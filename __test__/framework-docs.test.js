"use strict";

// The lines of docs/frameworks: each page's application is started as it is printed, with its staged route beside the
// other, and driven over HTTP. And docs/conformance.md, whose lines then check these applications.

const { execFileSync, spawn } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { conformance } = require("../lib/conformance");
const { ROOT, blocksOf } = require("./helpers/documents");
const { useDatabase } = require("./helpers/database");
const { eventually } = require("./helpers/flows");
const { ask } = require("./helpers/http-client");

const PAGES = ["express", "fastify", "koa", "hono", "nest", "fetch"];
const COMPILE_TIMEOUT = 120_000;

const database = useDatabase();
const endings = [];

beforeAll(async () => {
  await database.pool.query("CREATE TABLE orders (id serial PRIMARY KEY, item text)");
});

afterEach(async () => {
  for (const end of endings.splice(0)) {
    await end();
  }
});

const pageOf = (name) => `docs/frameworks/${name}.md`;

/** The one program of a page: its application, with its staged route before the line that listens. */
function programOf(name) {
  const blocks = blocksOf(pageOf(name));
  expect(blocks).toHaveLength(2);
  const [whole, staged] = blocks.map(({ code }) => code);
  return (
    PROGRAMS[name]?.(whole, staged) ??
    insertedBefore(/^(await )?(app\.listen|serve)\(/m, whole, staged)
  );
}

function insertedBefore(line, whole, staged) {
  const at = whole.search(line);
  expect(at).toBeGreaterThan(0);
  return `${whole.slice(0, at)}${staged}\n${whole.slice(at)}`;
}

const PROGRAMS = {
  koa: (whole, staged) =>
    insertedBefore(/^app\.use\(async \(ctx, next\) => {\n {2}if/m, whole, staged)
      // The staged form is not mounted behind the middleware.
      .replace(
        /(app\.use\(idempotency[^\n]*\n\n)([^]*?)(?=app\.use\(async \(ctx, next\) => {\n {2}if)/,
        "$2$1",
      ),
  express: (whole, staged) => insertedBefore(/^app\.use\(idempotency/m, whole, staged),
  hono: (whole, staged) => insertedBefore(/^app\.use\(idempotency/m, whole, staged),
  fastify: (whole, staged) =>
    insertedBefore(/^await app\.register/m, whole, staged).replace(
      /await app\.register\(idempotency, ([^]*?)\);\n\n([^]*?\n}\);)/,
      "await app.register(async (app) => {\nawait app.register(idempotency, $1);\n$2\n});",
    ),
  nest: (whole, staged) =>
    insertedBefore(/^@Module/m, whole, staged)
      .replace("controllers: [Orders]", "controllers: [Orders, StagedOrders]")
      .replace("import { Controller, Post, Req, Res }", "import { Req, Res }")
      .replace("import { Idempotent, staged }", "import { staged }"),
  // The server is the framework's, which has a file for each route.
  fetch: (whole, staged) => `${whole}\n${staged}
import { serve } from "@hono/node-server";
const routes = { "/orders": POST, "/staged-orders": PATCH };
serve({
  fetch: (request) => routes[new URL(request.url).pathname](request),
  port: Number(process.env.PORT),
});
`,
};

/** Starts a page's program in a folder of its own. @returns {Promise<string>} its URL */
async function startPage(name) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "idempotency-frameworks-"));
  endings.push(() => fs.rmSync(folder, { recursive: true, force: true }));
  const modules = path.join(folder, "node_modules");
  fs.mkdirSync(modules);
  for (const each of fs.readdirSync(path.join(ROOT, "node_modules"))) {
    fs.symlinkSync(path.join(ROOT, "node_modules", each), path.join(modules, each), "junction");
  }
  fs.symlinkSync(ROOT, path.join(modules, "medusa-idempotency-key"), "junction");
  const isTypeScript = blocksOf(pageOf(name))[0].language === "ts";
  const file = path.join(folder, isTypeScript ? "app.mts" : "app.mjs");
  fs.writeFileSync(file, programOf(name));
  return start(isTypeScript ? compiled(file) : file);
}

function compiled(file) {
  const tsc = path.join(ROOT, "node_modules/typescript/bin/tsc");
  const options = ["--module", "nodenext", "--target", "es2022", "--experimentalDecorators"];
  const given = [...options, "--emitDecoratorMetadata", "--noCheck", file];
  execFileSync(process.execPath, [tsc, ...given], { encoding: "utf8", stdio: "inherit" });
  return file.replace(/mts$/, "mjs");
}

async function start(file) {
  const port = await freePort();
  const env = { ...process.env, DATABASE_URL: database.url, PORT: String(port) };
  const child = spawn(process.execPath, [file], { env, stdio: ["ignore", "ignore", "inherit"] });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  endings.unshift(async () => {
    child.kill();
    await exited;
  });
  const url = `http://127.0.0.1:${port}`;
  const answers = () =>
    ask(`${url}/nothing`).answer.then(
      () => true,
      () => child.exitCode !== null,
    );
  await eventually(answers);
  expect(child.exitCode).toBeNull();
  return url;
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function ordersOf(item) {
  const sql = "SELECT count(*)::int AS made FROM orders WHERE item = $1";
  return (await database.pool.query(sql, [item])).rows[0].made;
}

describe.each(PAGES)("docs/frameworks/%s.md", (name) => {
  test(
    "shows an application that conforms, in both forms",
    async () => {
      const url = await startPage(name);
      for (const route of ["orders", "staged-orders"]) {
        const item = randomUUID();
        const [key, body] = [randomUUID(), { item }];
        const first = await ask(`${url}/${route}`, { key, body }).answer;
        expect(first).toMatchObject({ status: 201, body: { id: expect.any(Number) } });
        const replay = await ask(`${url}/${route}`, { key, body }).answer;
        expect(replay.text).toBe(first.text);
        expect(replay.headers).toMatchObject({ "idempotent-replayed": "true" });
        expect(replay.headers.location).toBe(first.headers.location);
        expect(await ordersOf(item)).toBe(1);
      }
      const [{ code }] = blocksOf("docs/conformance.md");
      const printed = [];
      const print = { log: (line) => printed.push(line) };
      const evaluated = new Function("require", "console", `${code}; return check;`);
      const passes = await evaluated(() => ({ conformance: asOrders(url) }), print)(url);
      expect(printed.filter((line) => line.startsWith("failed"))).toEqual([]);
      expect(passes).toBe(true);
    },
    COMPILE_TIMEOUT,
  );
});

/** These applications have no refunds. */
const asOrders = (url) => (target) => conformance({ ...target, elsewhere: `${url}/staged-orders` });

test("no page is left out", () => {
  const files = fs.readdirSync(path.join(ROOT, "docs/frameworks")).sort();
  expect(files).toEqual(PAGES.map((name) => `${name}.md`).sort());
  expect(blocksOf("docs/conformance.md")).toHaveLength(1);
});
