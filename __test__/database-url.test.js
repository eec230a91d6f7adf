"use strict";

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService } = require("..");
const { startPostgres } = require("../scripts/postgres");

// What `pg` makes of a URL is the rule: each of these connects with both, and sees the same.

const TLS = path.join(__dirname, "fixtures/tls");
const CONNECT = path.join(__dirname, "fixtures/connect.js");
const pem = (name) => fs.readFileSync(path.join(TLS, name), "utf8");
const ROOT = path.join(TLS, "root.pem");
const OTHER_ROOT = path.join(TLS, "ca.pem");

/** The server's certificates: in order, with a link of the chain missing, of nobody's authority, of no server. */
const SERVERS = {
  complete: { ssl: "on", ssl_cert_file: "complete.pem", ssl_key_file: "chain-server.key" },
  incomplete: { ssl: "on", ssl_cert_file: "incomplete.pem", ssl_key_file: "chain-server.key" },
  selfSigned: { ssl: "on", ssl_cert_file: "self-signed.pem", ssl_key_file: "self-signed.key" },
  ownAuthority: { ssl: "on", ssl_cert_file: "own-authority.pem", ssl_key_file: "self-signed.key" },
  plain: { ssl: "off" },
};
const FILES = [
  "own-authority.pem",
  "complete.pem",
  "incomplete.pem",
  "chain-server.key",
  "self-signed.pem",
  "self-signed.key",
];

const running = {};

beforeAll(async () => {
  const access = { "pg_hba.conf": "host all all all trust\nlocal all all trust\n" };
  const files = Object.fromEntries(FILES.map((name) => [name, pem(name)]));
  const starts = Object.entries(SERVERS).map(async ([name, settings]) => {
    running[name] = await startPostgres({
      settings: { ...settings, listen_addresses: "127.0.0.1,::1" },
      files: { ...files, ...access },
    });
  });
  await Promise.all(starts);
  const service = new IdempotencyKeyService({}, { databaseUrl: running.plain.url });
  await service.atomicPhase_(async (manager) => {
    await manager.query("CREATE ROLE shopkeeper LOGIN");
    await manager.query("CREATE SCHEMA shop");
  });
  await service.close();
});

afterAll(() => Promise.all(Object.values(running).map((server) => server.stop())));

const portOf = (server) => new URL(running[server].url).port;

/** What comes of connecting by some URLs, in a process of its own. */
async function outcomes(how, urls, env = {}) {
  const child = spawn(process.execPath, ["--no-warnings", CONNECT], {
    env: { PATH: process.env.PATH, HOME: "/nowhere", ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.end(JSON.stringify([how, urls]));
  return JSON.parse(Buffer.concat(await child.stdout.toArray()).toString());
}

/** Connects by URLs with `pg` and with this package, and answers what both see. */
async function compared(urls, env) {
  const [theirs, ours] = await Promise.all([
    outcomes("pg", urls, env),
    outcomes("ours", urls, env),
  ]);
  return urls.map((url, index) => ({ url, theirs: theirs[index], ours: ours[index] }));
}

const NAME = "medusa-idempotency-key";

/** `pg` gives a connection no name of its own. */
function seenAlike({ theirs, ours, url }) {
  const name = theirs.name === "" ? NAME : theirs.name;
  const expected = theirs.failed ? { failed: true } : { ...theirs, name };
  const seen = ours.failed ? { failed: true } : ours;
  expect({ url, ...seen, why: ours.message }).toEqual({ url, ...expected, why: ours.message });
}

/** Whether a connection is made, and encrypted, with both. */
const verdicts = (compared) =>
  Object.fromEntries(
    compared.map(({ url, theirs, ours }) => {
      const verdict = ({ failed, encrypted }) =>
        failed ? "refused" : encrypted ? "encrypted" : "clear";
      const query = url.split("?")[1] ?? "";
      return [query.replaceAll(/=\/[^&]*\//g, "=…/"), [verdict(theirs), verdict(ours)]];
    }),
  );

const QUERIES = [
  "",
  "sslmode=disable",
  "sslmode=prefer",
  "sslmode=require",
  "sslmode=verify-ca",
  "sslmode=verify-full",
  "sslmode=no-verify",
  "sslmode=",
  "ssl=true",
  "ssl=1",
  "ssl=0",
  "ssl=no-verify",
  "uselibpqcompat=true&sslmode=disable",
  "uselibpqcompat=true&sslmode=prefer",
  "uselibpqcompat=true&sslmode=require",
  "uselibpqcompat=true&sslmode=verify-full",
  `uselibpqcompat=true&sslmode=require&sslrootcert=${ROOT}`,
  `uselibpqcompat=true&sslmode=verify-ca&sslrootcert=${ROOT}`,
  `uselibpqcompat=true&sslmode=verify-ca&sslrootcert=${OTHER_ROOT}`,
  `sslrootcert=${ROOT}`,
  `sslmode=require&sslrootcert=${ROOT}`,
  `sslmode=verify-full&sslrootcert=${ROOT}`,
  `sslmode=verify-full&sslrootcert=${OTHER_ROOT}`,
  `sslmode=no-verify&sslrootcert=${OTHER_ROOT}`,
  `sslmode=verify-full&sslrootcert=${path.join(TLS, "self-signed.pem")}`,
  `sslmode=require&sslrootcert=${path.join(TLS, "nowhere.pem")}`,
  "sslmode=require&channel_binding=require",
  "ssl_mode=disable",
];

describe.each(["complete", "incomplete", "selfSigned", "plain"])(
  "a server whose certificate is %s",
  (server) => {
    const urls = () =>
      QUERIES.map((query) => `postgres://postgres@localhost:${portOf(server)}/postgres?${query}`);

    test("is reached by the same URLs as with pg", async () => {
      const all = await compared(urls());
      all.forEach(seenAlike);
      expect(verdicts(all)).toMatchSnapshot();
    });

    test("is reached by the same URLs as with pg where its authority is in NODE_EXTRA_CA_CERTS", async () => {
      const all = await compared(urls(), { NODE_EXTRA_CA_CERTS: ROOT });
      all.forEach(seenAlike);
      expect(verdicts(all)["sslmode=verify-full"][1]).toBe(
        server === "complete" ? "encrypted" : "refused",
      );
    });

    test("is reached with PGSSLMODE as with pg", async () => {
      for (const PGSSLMODE of ["disable", "require", "no-verify", "verify-full"]) {
        const all = await compared(urls().slice(0, 3), { PGSSLMODE });
        all.forEach(seenAlike);
      }
    });
  },
);

test("a server whose certificate is an authority's own is refused, unlike with pg, and the error says why", async () => {
  const file = path.join(TLS, "own-authority.pem");
  const url = `postgres://postgres@localhost:${portOf("ownAuthority")}/postgres?sslmode=verify-full&sslrootcert=${file}`;
  const [{ ours, theirs }] = await compared([url]);
  expect(theirs).toMatchObject({ encrypted: true });
  expect(ours.message).toContain("CA:FALSE");
});

describe("a URL", () => {
  const on = (text) => text.replaceAll("PORT", portOf("plain"));

  test("says who connects to what as with pg", async () => {
    const folder = running.plain.socketFolder;
    const urls = [
      "postgres://shopkeeper@localhost:PORT/postgres",
      "postgresql://shopkeeper@127.0.0.1:PORT/postgres",
      "POSTGRES://shopkeeper@localhost:PORT/postgres",
      "pg://shopkeeper@localhost:PORT/postgres",
      "postgres://shopkeeper@[::1]:PORT/postgres",
      "postgres://shopkeeper:pass%20word@localhost:PORT/postgres",
      "postgres://shopkeeper:100%@localhost:PORT/postgres",
      "postgres://shopkeeper:100%zz@localhost:PORT/postgres",
      "postgres://localhost:PORT/postgres?user=shopkeeper",
      "postgres:///postgres?host=localhost&port=PORT&user=shopkeeper",
      `postgres:///postgres?host=${folder}&port=PORT&user=shopkeeper`,
      `postgres://shopkeeper@${encodeURIComponent(folder)}:PORT/postgres`,
      `postgres://shopkeeper@/postgres?host=${folder}&port=PORT`,
      "postgres://shopkeeper@localhost:PORT/postgres?application_name=till",
      "postgres://shopkeeper@localhost:PORT/postgres?fallback_application_name=till",
      "postgres://shopkeeper@localhost:PORT/postgres?options=-c%20search_path%3Dshop",
      "postgres://shopkeeper@localhost:PORT/postgres?options=-csearch_path%3Dshop",
      "postgres://shopkeeper@localhost:PORT/postgres?statement_timeout=4321",
      "postgres://shopkeeper@localhost:PORT/postgres?connect_timeout=10&keepalives=1&keepalives_idle=5",
      "postgres://shopkeeper@localhost:PORT/nowhere",
      "postgres://nobody@localhost:PORT/postgres",
    ].map(on);
    (await compared(urls)).forEach(seenAlike);
  });

  test("is a socket's as with pg", async () => {
    const folder = running.plain.socketFolder;
    const env = { PGPORT: portOf("plain"), PGUSER: "shopkeeper" };
    const urls = [`socket:${folder}?db=postgres`, `${folder} postgres`];
    (await compared(urls, env)).forEach(seenAlike);
  });

  test("leaves to the environment what it does not say, as with pg", async () => {
    const env = {
      PGHOST: "127.0.0.1",
      PGPORT: portOf("plain"),
      PGUSER: "shopkeeper",
      PGDATABASE: "postgres",
      PGAPPNAME: "till",
      PGOPTIONS: "-c search_path=shop",
    };
    (await compared(["postgres://", "postgres:///postgres", "postgres://localhost"], env)).forEach(
      seenAlike,
    );
  });

  test("with sslrootcert=system trusts what the operating system does", async () => {
    const url = `postgres://postgres@localhost:${portOf("complete")}/postgres?sslmode=verify-full&sslrootcert=system`;
    const [trusted] = await outcomes("ours", [url], { SSL_CERT_FILE: ROOT });
    expect(trusted).toMatchObject({ encrypted: true });
    const [other] = await outcomes("ours", [url], { SSL_CERT_FILE: OTHER_ROOT });
    expect(other).toMatchObject({ failed: true, message: expect.stringContaining("certificate") });
  });

  test("of several hosts connects to the first that can be reached and will do", async () => {
    const hosts = on("localhost:1,127.0.0.1:PORT,[::1]:PORT");
    const urls = ["", "?target_session_attrs=read-write", "?target_session_attrs=any"].map(
      (query) => `postgres://shopkeeper@${hosts}/postgres${query}`,
    );
    for (const seen of await outcomes("ours", urls)) {
      expect(seen).toMatchObject({ user: "shopkeeper", address: "127.0.0.1" });
    }
    const [failed] = await outcomes("ours", [`${urls[0]}?target_session_attrs=standby`]);
    const everywhere = on('localhost:1, 127.0.0.1:PORT, ::1:PORT, database "postgres"');
    expect(failed.message).toContain(everywhere);
  });

  test("with flags of Prisma's names the schema and connects", async () => {
    const query = "pgbouncer=true&connection_limit=1&pool_timeout=0&schema=shop";
    const databaseUrl = on(`postgres://postgres@localhost:PORT/postgres?${query}`);
    const service = new IdempotencyKeyService({}, { databaseUrl });
    await service.migrate();
    await service.create({ idempotency_key: "prisma" });
    const [{ schema }] = await service.atomicPhase_((manager) =>
      manager.query(
        "SELECT relnamespace::regnamespace::text AS schema FROM pg_class WHERE relname = $1",
        ["idempotency_key"],
      ),
    );
    expect(schema).toBe("shop");
    await service.close();
  });

  test.each([
    ["?sslmode=verify_full", "sslmode"],
    ["?sslnegotiation=direct&ssl=true", "sslnegotiation"],
    ["?require_auth=scram-sha-256", "require_auth"],
    ["?sslcrl=/etc/crl.pem", "sslcrl"],
    ["?service=shop", "service"],
    ["?hostaddr=127.0.0.1", "hostaddr"],
    ["?replication=database", "replication"],
    ["?gssencmode=require", "gssencmode"],
    ["?target_session_attrs=readwrite", "target_session_attrs"],
    ["?statement_timeout=5s%20-c%20x", "statement_timeout"],
  ])("that cannot be honoured is refused by the parameter's name: %s", (query, name) => {
    const databaseUrl = `postgres://me:s3cret@localhost:5432/shop${query}`;
    expect(() => new IdempotencyKeyService({}, { databaseUrl })).toThrow(
      expect.objectContaining({ code: "invalid_option", message: expect.stringContaining(name) }),
    );
  });

  test.each(["pass#word", "pass/word", "pass?word", "#1", "a/b@c"])(
    "with a raw %s in its password is refused with the way out",
    (password) => {
      const databaseUrl = `postgres://me:${password}@localhost:5432/shop`;
      let error;
      try {
        new IdempotencyKeyService({}, { databaseUrl });
      } catch (thrown) {
        error = thrown;
      }
      expect(error.message).toContain("percent-encode");
      expect(`${error.message} ${error.stack}`).not.toContain(password);
    },
  );
});

describe("TypeORM's options", () => {
  const on = (server) => ({
    host: "localhost",
    port: Number(portOf(server)),
    username: "postgres",
  });

  async function seen(options) {
    const { manager } = new DataSource({ type: "postgres", ...options });
    const service = new IdempotencyKeyService({ manager });
    // Not through the manager, whose DataSource is not connected: on the service's own connections.
    try {
      await service.migrate();
      await service.create({});
      return "connected";
    } catch (error) {
      return error.message;
    } finally {
      await service.close();
    }
  }

  test("reach the master of a replication", async () => {
    const nowhere = { host: "localhost", port: 1 };
    expect(await seen({ replication: { master: on("plain"), slaves: [nowhere] } })).toBe(
      "connected",
    );
    const url = running.plain.url;
    expect(await seen({ replication: { master: { url }, slaves: [nowhere] } })).toBe("connected");
    expect(await seen({ replication: { master: nowhere, slaves: [on("plain")] } })).toContain(
      ":1,",
    );
  });

  test("may have the string, or the TLS of Medusa v2, in `extra`", async () => {
    expect(await seen({ extra: { connectionString: running.plain.url } })).toBe("connected");
    const ssl = { rejectUnauthorized: false };
    expect(await seen({ ...on("plain"), extra: { connection: { ssl } } })).toMatch(/TLS|SSL/i);
    expect(await seen({ ...on("complete"), extra: { connection: { ssl } } })).toBe("connected");
  });

  test.each([
    ["ca as a Buffer", { ca: Buffer.from(pem("root.pem")) }, "connected"],
    ["ca as an array", { ca: [pem("ca.pem"), Buffer.from(pem("root.pem"))] }, "connected"],
    ["ca of another authority", { ca: pem("ca.pem") }, /certificate/],
    ["no ca", {}, /certificate/],
    ["no verification", { rejectUnauthorized: false }, "connected"],
    [
      "a name that is not looked at",
      { ca: pem("root.pem"), checkServerIdentity: () => undefined },
      "connected",
    ],
    ["minVersion", { ca: pem("root.pem"), minVersion: "TLSv1.2" }, "connected"],
  ])("honour TLS: %s", async (name, ssl, expected) => {
    const result = await seen({ ...on("complete"), ssl });
    expect(result).toEqual(
      typeof expected === "string" ? expected : expect.stringMatching(expected),
    );
  });

  test.each([
    ["checkServerIdentity", { checkServerIdentity: (host) => new Error(host) }],
    ["minVersion", { minVersion: "TLSv1.3" }],
    ["ciphers", { ciphers: "ECDHE" }],
    ["pfx", { pfx: Buffer.alloc(1) }],
    ["passphrase", { key: pem("client.key"), cert: pem("client.pem"), passphrase: "?" }],
  ])("refuse by name what they cannot honour: ssl.%s", async (name, ssl) => {
    const result = seen({ ...on("complete"), ssl });
    if (name === "passphrase") {
      // A key that is not protected opens with any.
      expect(await result).toMatch(/certificate/);
    } else {
      expect(await result).toContain(`ssl.${name}`);
    }
  });
});
