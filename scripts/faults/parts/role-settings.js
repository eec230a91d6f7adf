"use strict";

// Settings that the owner of a database gives to a role: no caller may notice any of them.

const { isDeepStrictEqual } = require("node:util");
const { DataSource } = require("typeorm");
const { IdempotencyKeyService } = require("../../..");
const {
  PromiseBroken,
  eachOf,
  eventually,
  hold,
  noticeAll,
  query,
  withServer,
} = require("../support");
const { CONTROLS, SETTINGS } = require("./role-settings-table");

const FULL = { creates: 200, requests: 100, bound: 20 };
const SHORT = { creates: 11, requests: 2, bound: 1 };
/** How many callers send each request, in turn by one service and the other. */
const DUPLICATES = 4;
/** Which errors TypeORM's own connections may have here: its transaction is begun again. */
const REPEATED = ["40001", "40P01", "57P05"];

/** What is spoilt by one setting or another if it is written or read as the session says. */
const TEXTS = [
  "C:\\new\\table\\",
  "it's \\' and \"quoted\"",
  "\\x41 \\u0041 \\101 E'\\n'",
  "Zoë zahlt 20 § in Köln – ¿señor?",
  "NULL",
  '{a,"b",NULL}',
  "31/12/2026",
  "1.234,5",
  "$1 $$ :name ?",
  "a tab\t, a line\n",
  "",
];
const DAY = "2026-03-04";
const AT = new Date("2026-03-04T05:06:07.089Z");
const AMOUNT = 0.1 + 0.2;
const PRICE = "12345678.900100";
const SPAN = "1 day 02:03:04.5";
const BYTES = Buffer.from([0, 1, 39, 92, 200, 255]);
const LIST = ["a\\b", "it's", "NULL", "", "é"];

const INSERT = `INSERT INTO effect (name, note, day, at, amount, price, span, bytes, list)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING note, at, bytes, list`;

const name = "role-settings";
const title = "Settings of a role";

/**
 * @param {object} options
 * @param {boolean} options.full 200 creates and 100 requests with each of the settings, not a dozen
 * @param {boolean} options.broken settings that do change what is stored, or what is allowed
 * @param {(line: string) => void} options.log
 */
function run({ full, broken, log }) {
  return withServer({}, async ({ url }) => {
    await prepare(url);
    if (broken) {
      await noticeAll(
        log,
        CONTROLS.map((each) => [each.what, () => useSettings(url, each, SHORT)]),
      );
    }
    const [{ server_version_num: version }] = await query(url, "SHOW server_version_num");
    const used = SETTINGS.filter(({ since = 0 }) => Number(version) >= since);
    let calls = 0;
    await eachOf(used, 4, async (each) => {
      const made = await useSettings(url, each, full ? FULL : SHORT);
      calls += made;
      log(`${each.what}: right`);
    });
    return { settings: used.length, "calls that were right": calls };
  });
}

async function prepare(url) {
  const service = new IdempotencyKeyService({}, { databaseUrl: url });
  await service.migrate();
  await service.close();
  await query(
    url,
    `CREATE TABLE effect (name text NOT NULL, note text, day date, at timestamptz, amount float8,
       price numeric, span interval, bytes bytea, list text[], is_paid boolean);
     CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN NEW.price := round(NEW.price, 3); RETURN NEW; END';
     CREATE TRIGGER spoil BEFORE UPDATE ON effect FOR EACH ROW
       WHEN (current_setting('faults.spoils', true) = 'on') EXECUTE FUNCTION spoil();
     CREATE ROLE keeper; GRANT CREATE ON SCHEMA public TO keeper;
     GRANT ALL ON ALL TABLES IN SCHEMA public TO keeper;
     CREATE SCHEMA elsewhere AUTHORIZATION keeper;`,
  );
}

/** Makes a role with some settings, and all kinds of calls by it. Resolves to how many. */
async function useSettings(url, { what, settings, schema = "public", idles = false }, counts) {
  const role = what.replaceAll(/\W+/g, "_").toLowerCase();
  const sets = Object.entries(settings).map(
    ([setting, value]) => `ALTER ROLE ${role} SET ${setting} = ${value};`,
  );
  await query(url, `CREATE ROLE ${role} LOGIN; GRANT keeper TO ${role}; ${sets.join(" ")}`);
  const users = await usersOf(url, role);
  try {
    const prefix = `${role}-`;
    const calls = await useAll(users, prefix, counts);
    if (idles) {
      await untilDisconnected(url, role);
      await create(users.services, `${prefix}idle`, 0);
    }
    await requireStored(url, schema, prefix, counts, idles ? 1 : 0);
    return calls;
  } catch (error) {
    // Each call has to be answered, whatever the settings are.
    const code = error.code ? `${error.code} ` : "";
    throw new PromiseBroken(`${what}: ${code}${error.message}`, { cause: error });
  } finally {
    await users.close();
  }
}

/** Two services with connections of their own, and TypeORM. */
async function usersOf(url, role) {
  const databaseUrl = Object.assign(new URL(url), { username: role }).href;
  const dataSource = new DataSource({ type: "postgres", url: databaseUrl, extra: { max: 2 } });
  await dataSource.initialize();
  const services = [1, 2].map(
    (maxConnections) =>
      new IdempotencyKeyService({}, { databaseUrl, maxConnections, waitTimeout: 20_000 }),
  );
  const bindable = new IdempotencyKeyService({ manager: dataSource.manager }, {});
  const close = async () => {
    await Promise.all([...services, bindable].map((service) => service.close()));
    await dataSource.destroy();
  };
  return { services, dataSource, bindable, close };
}

async function useAll({ services, dataSource, bindable }, prefix, counts) {
  await services[0].migrate();
  const numbers = (count) => Array.from({ length: count }, (_, number) => number);
  await eachOf(numbers(counts.creates), 20, (number) =>
    create(services, `${prefix}create-${number}`, number),
  );
  await eachOf(numbers(counts.requests), 4, (number) =>
    request(services, `${prefix}request-${number}`, number),
  );
  await eachOf(numbers(counts.bound), 2, (number) =>
    boundRequest(dataSource, bindable, `${prefix}bound-${number}`, number),
  );
  return 2 * counts.creates + DUPLICATES * counts.requests + 4 * counts.bound;
}

const textOf = (number) => TEXTS[number % TEXTS.length];

function paramsOf(number) {
  const text = textOf(number);
  return { text, [text]: [text, null], amount: AMOUNT, most: 2 ** 53 - 1, least: -1.5e-300 };
}

/** The columns that a key is created with. */
const columnsOf = (key, number) => ({
  idempotency_key: key,
  request_method: "POST",
  request_params: paramsOf(number),
  request_path: `/${textOf(number)}`,
  created_at: new Date(AT.getTime() + number),
});

async function create(services, key, number, timesAreRead = true) {
  const columns = columnsOf(key, number);
  const made = await services[number % 2].create({ ...columns });
  const found = await services[(number + 1) % 2].retrieve(key);
  for (const seen of [made, found]) {
    const { created_at } = timesAreRead ? columns : seen;
    holdSame(seen, { ...seen, ...columns, created_at }, `the key ${key}`);
  }
}

/** Sends a request several times at once: it is run once, and all get its answer. */
async function request(services, key, number) {
  const asked = { key, method: "POST", path: "/carts", params: paramsOf(number) };
  const stages = {
    started: async (manager) => {
      const [read, expected] = await work(manager, key, number);
      holdSame(read, expected, `what the stage of ${key} read`);
      return { recovery_point: "paid" };
    },
    paid: async (manager) => {
      await manager.query("UPDATE effect SET is_paid = true WHERE name = $1", [key]);
      return answerOf(key, number);
    },
  };
  const answers = await Promise.all(
    Array.from({ length: DUPLICATES }, (_, index) => services[index % 2].runStages(asked, stages)),
  );
  for (const { response_code, response_body } of answers) {
    holdSame({ response_code, response_body }, answerOf(key, number), `the answer of ${key}`);
  }
  const ran = answers.filter(({ replayed }) => !replayed).length;
  hold(ran === 1, `${key} was run by ${ran} callers`);
}

/** A request in a transaction of TypeORM's, and a key that is made in it. */
async function boundRequest(dataSource, bindable, key, number) {
  // `pg` itself reads no times of another style.
  const { DateStyle: style } = (await dataSource.query("SHOW DateStyle"))[0];
  const timesAreRead = style.startsWith("ISO");
  const inTransaction = async (manager) => {
    const bound = bindable.withTransaction(manager);
    await create([bound, bound], key.replace("bound", "inside"), number, timesAreRead);
    const begun = await bound.initializeRequest(key, "POST", paramsOf(number), "/carts");
    return bound.workStage(begun, async (inner) => {
      await work(inner, key, number);
      await inner.query("UPDATE effect SET is_paid = true WHERE name = $1", [key]);
      return answerOf(key, number);
    });
  };
  for (;;) {
    try {
      const { response_code, response_body } = await dataSource.transaction(inTransaction);
      holdSame({ response_code, response_body }, answerOf(key, number), `the answer of ${key}`);
      return;
    } catch (error) {
      if (!REPEATED.includes(error.code)) {
        throw error;
      }
    }
  }
}

async function work(manager, key, number) {
  const note = textOf(number);
  const parameters = [key, note, DAY, AT, AMOUNT, PRICE, SPAN, BYTES, LIST];
  const [row] = await manager.query(INSERT, parameters);
  return [{ ...row }, { note, at: AT, bytes: BYTES, list: LIST }];
}

const answerOf = (key, number) => ({
  response_code: 201,
  response_body: { key, ...paramsOf(number) },
});

async function untilDisconnected(url, role) {
  const sql = "SELECT count(*)::int AS count FROM pg_stat_activity WHERE usename = $1";
  await eventually(async () => {
    const [{ count }] = await query(url, sql, [role]);
    return count === 0;
  }, `${role} is still connected`);
}

/** What is stored is what was given, as a plain client without the settings reads it. */
async function requireStored(url, schema, prefix, { creates, requests, bound }, more) {
  const keys = await query(
    url,
    `SELECT idempotency_key, request_method, request_params, request_path, created_at,
       response_code, response_body, recovery_point
     FROM ${schema}.idempotency_key WHERE idempotency_key ^@ $1`,
    [prefix],
  );
  hold(keys.length === creates + requests + 2 * bound + more, `${prefix}: ${keys.length} keys`);
  for (const key of keys) {
    const [, kind, digits = "0"] = key.idempotency_key.split("-");
    const number = Number(digits);
    const isRun = ["request", "bound"].includes(kind);
    const expected = isRun
      ? { recovery_point: "finished", ...answerOf(key.idempotency_key, number) }
      : { recovery_point: "started", ...columnsOf(key.idempotency_key, number) };
    holdSame(key, { ...key, ...expected, request_params: paramsOf(number) }, key.idempotency_key);
  }
  const effects = await query(
    url,
    `SELECT name, note, day::text, at, amount, price::text, span::text, bytes, list, is_paid
     FROM effect WHERE name ^@ $1`,
    [prefix],
  );
  hold(effects.length === requests + bound, `${prefix}: ${effects.length} effects`);
  for (const effect of effects) {
    const { name } = effect;
    const note = textOf(Number(name.split("-")[2]));
    const constant = { day: DAY, at: AT, amount: AMOUNT, price: PRICE, span: SPAN };
    holdSame(effect, { name, note, ...constant, bytes: BYTES, list: LIST, is_paid: true }, name);
  }
}

function holdSame(seen, expected, what) {
  const shown = (value) => JSON.stringify(value);
  hold(
    isDeepStrictEqual(seen, expected),
    `${what} is ${shown(seen)} in place of ${shown(expected)}`,
  );
}

module.exports = { name, run, title };
