"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService } = require("..");
const { startPostgres } = require("../scripts/postgres");
const { rejection } = require("./helpers/database");

const pem = (name) => fs.readFileSync(path.join(__dirname, "fixtures/tls", name), "utf8");
/** `strict` may connect with TLS and a certificate only, everybody else as he likes. */
const ACCESS = `
hostssl all strict 127.0.0.1/32 trust clientcert=verify-ca
host all strict 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
local all all trust
`;

let server;
let port;

beforeAll(async () => {
  const files = {
    "pg_hba.conf": ACCESS,
    "server.pem": pem("server.pem"),
    "server.key": pem("server.key"),
    "ca.pem": pem("ca.pem"),
  };
  const settings = {
    ssl: "on",
    ssl_cert_file: "server.pem",
    ssl_key_file: "server.key",
    ssl_ca_file: "ca.pem",
  };
  server = await startPostgres({ settings, files });
  port = Number(new URL(server.url).port);
  const service = new IdempotencyKeyService({}, { databaseUrl: server.url });
  await service.migrate();
  await service.atomicPhase_((manager) => manager.query("CREATE ROLE strict LOGIN SUPERUSER"));
  await service.close();
});

afterAll(() => server.stop());

/** A service that finds its database through a DataSource with these options. */
async function withService(options, use) {
  const { manager } = new DataSource({ type: "postgres", ...options });
  const service = new IdempotencyKeyService({ manager });
  try {
    return await use(service);
  } finally {
    await service.close();
  }
}

/** Whether the connection of a new service is encrypted. */
async function isEncrypted(options) {
  return withService(options, async (service) => {
    await service.create({});
    const watching = new IdempotencyKeyService({}, { databaseUrl: server.url, maxConnections: 2 });
    const [{ ssl }] = await watching.atomicPhase_((manager) =>
      manager.query(
        `SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE application_name = 'medusa-idempotency-key' AND pid <> pg_backend_pid()
         ORDER BY backend_start DESC LIMIT 1`,
      ),
    );
    await watching.close();
    return ssl;
  });
}

const fields = (more) => ({ host: "localhost", port, username: "postgres", ...more });
const url = (query = "", user = "postgres") =>
  `postgres://${user}@localhost:${port}/postgres${query}`;

test.each([
  ["no ssl", () => fields()],
  ["false", () => fields({ ssl: false })],
  ["a URL without sslmode", () => ({ url: url() })],
  ["sslmode=disable", () => ({ url: url("?sslmode=disable") })],
])("is not encrypted with %s", async (_, options) => {
  expect(await isEncrypted(options())).toBe(false);
});

test.each([
  ["rejectUnauthorized: false", () => fields({ ssl: { rejectUnauthorized: false } })],
  ["the authority", () => fields({ ssl: { ca: pem("ca.pem") } })],
  ["the authority as a Buffer", () => fields({ ssl: { ca: Buffer.from(pem("ca.pem")) } })],
  ["ssl in extra", () => ({ url: url(), extra: { ssl: { rejectUnauthorized: false } } })],
  ["sslmode=no-verify", () => ({ url: url("?sslmode=no-verify") })],
  [
    "a client certificate",
    () =>
      fields({
        username: "strict",
        database: "postgres",
        ssl: { ca: pem("ca.pem"), cert: pem("client.pem"), key: pem("client.key") },
      }),
  ],
])("is encrypted with %s", async (_, options) => {
  expect(await isEncrypted(options())).toBe(true);
});

test.each([
  ["true, as nobody known vouches for the server", () => fields({ ssl: true })],
  ["an empty object, likewise", () => fields({ ssl: {} })],
  [
    "another host than the certificate's",
    () => fields({ host: "127.0.0.1", ssl: { ca: pem("ca.pem") } }),
  ],
])("is refused with %s", async (_, options) => {
  const error = await withService(options(), (service) => rejection(service.create({})));
  expect(error.message).toMatch(/certificate/i);
  expect(error.message).toContain(`:${port}, database`);
});

test("is refused by a server that wants a certificate and gets none", async () => {
  const options = fields({ username: "strict", ssl: { ca: pem("ca.pem") } });
  const error = await withService(options, (service) => rejection(service.create({})));
  expect(error.code).toBe("28000");
});

test("goes through a socket of the file system", async () => {
  for (const options of [
    { host: server.socketFolder, port, username: "postgres" },
    { url: `postgres://postgres@/postgres?host=${server.socketFolder}&port=${port}` },
  ]) {
    await withService(options, async (service) => {
      expect((await service.create({})).recovery_point).toBe("started");
    });
  }
  const databaseUrl = `postgres://postgres@/postgres?host=${server.socketFolder}&port=${port}`;
  const service = new IdempotencyKeyService({}, { databaseUrl });
  expect((await service.create({})).recovery_point).toBe("started");
  await service.close();
});
