"use strict";

// Any value for any option, and any text in a URL. HOSTILE_RUNS sets how many values each property is checked with.

const fc = require("fast-check");
const { createIdempotency, IdempotencyKeyService } = require("..");
const { useDatabase } = require("./helpers/database");
const { check, settled } = require("./helpers/hostile-calls");
const { Boxed, SECRET, hostile, hostileRecord, texts } = require("./helpers/hostile-values");

const OPTIONS = [
  "mode",
  "databaseUrl",
  "schema",
  "maxConnections",
  "lockTimeout",
  "maxRetries",
  "maxBatchSize",
  "maxBatchBytes",
  "maxQueued",
  "leaseTimeout",
  "maxDuration",
  "onInterrupted",
  "waitTimeout",
  "connectTimeout",
  "statementTimeout",
  "acquireTimeout",
  "retention",
  "commitKeyFirst",
  "manager",
];
/** What a URL may say about how the server is reached, and what it is told. */
const PARAMETERS = [
  "host",
  "port",
  "user",
  "options",
  "application_name",
  "schema",
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "target_session_attrs",
  "pgbouncer",
  "statement_timeout",
  "lock_timeout",
  "client_encoding",
];

const database = useDatabase();

/** Constructs a service, and ends it. */
async function constructed(construct, mayShow) {
  const { value: service } = await settled(construct, { mayShow });
  if (service) {
    await service.close();
  }
}

describe("any value is an option's, or is refused at construction", () => {
  test.each(OPTIONS)("as %s", async (option) => {
    await check(
      [hostile()],
      (value) =>
        constructed(() => createIdempotency({ [option]: value }), option !== "databaseUrl"),
      60,
    );
  });

  test("as the arguments of the constructor", async () => {
    await check(
      [hostile(), fc.oneof(hostileRecord([...OPTIONS, "projectConfig"]), hostile()), hostile()],
      (...given) => constructed(() => new IdempotencyKeyService(...given), true),
      200,
    );
  });

  test("as a container, or a config module, with which calls are made", async () => {
    const config = hostileRecord(["database_url", "database_extra", "database_schema"]);
    const project = fc
      .oneof(config, hostile())
      .map((box) => box.as((projectConfig) => ({ projectConfig })));
    const containers = fc.tuple(hostile(), hostile(), fc.oneof(project, hostile())).map(
      ([manager, logger, configModule]) =>
        new Boxed(
          () => ({
            manager: manager.open(),
            logger: logger.open(),
            configModule: configModule.open(),
          }),
          () => fc.stringify({ manager, logger, configModule }),
        ),
    );
    await check(
      [containers],
      async (container) => {
        const options = { connectTimeout: 1_000 };
        const { value: service } = await settled(
          () => new IdempotencyKeyService(container, options),
        );
        await settled(() => service?.create({}));
        await service?.close();
      },
      60,
    );
  });
});

describe("a URL", () => {
  const encoded = () => texts().map((text) => encodeURIComponent(text.toWellFormed()));

  test("of any text is read or refused, without its password in the message", async () => {
    const part = () => fc.oneof(texts(), encoded(), fc.constantFrom("h", "h:1", "h,i", "[::1]"));
    await check(
      [fc.constantFrom("postgres://", "socket:", "/", ""), fc.array(part(), { maxLength: 4 })],
      (scheme, parts) => {
        const databaseUrl = `${scheme}user:${SECRET}@${parts.join("/")}`;
        return constructed(() => createIdempotency({ databaseUrl }));
      },
      300,
    );
  });

  test("with any parameters connects or says why not, without its password", async () => {
    const parameters = fc.record(Object.fromEntries(PARAMETERS.map((name) => [name, encoded()])), {
      requiredKeys: [],
    });
    await check(
      [parameters, encoded()],
      async (given, schema) => {
        const query = Object.entries(given).map(([name, value]) => `${name}=${value}`);
        const url = new URL(database.url);
        url.password = SECRET;
        const options = { databaseUrl: `${url}?${query.join("&")}`, connectTimeout: 1_000, schema };
        const { value: service } = await settled(() => createIdempotency(options));
        await settled(() => service?.retrieve("none"));
        await service?.close();
      },
      40,
    );
  });
});
