"use strict";

const { spawn } = require("node:child_process");
const path = require("node:path");
const { Client, types } = require("pg");
const { rejection, useDatabase } = require("./helpers/database");

const database = useDatabase();
let service;

beforeAll(async () => {
  await database.pool.query(`
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy, "really"');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN word AS varchar(20);
    CREATE TYPE pair AS (number int, name text);
    CREATE TABLE person (id int PRIMARY KEY, name text NOT NULL, mood mood, tags text[]);
    INSERT INTO person VALUES
      (1, 'Ann', 'ok', '{a,"b c",NULL}'),
      (2, 'Bob "the" \\ O''Hara, (x)', NULL, NULL);
  `);
  service = database.service();
});

/** Runs work in a stage's transaction and rolls it back. */
async function inStage(work, stages = service) {
  const done = new Error("done");
  let result;
  try {
    await stages.atomicPhase_(async (manager) => {
      result = await work((sql, parameters) => manager.query(sql, parameters));
      throw done;
    });
  } catch (error) {
    if (error !== done) {
      throw error;
    }
  }
  return result;
}

/** Runs the same work in a transaction of `pg`'s. */
async function inPg(work) {
  const client = await database.pool.connect();
  try {
    await client.query("BEGIN");
    return await work(async (sql, parameters) => (await client.query(sql, parameters)).rows);
  } finally {
    await client.query("ROLLBACK");
    client.release();
  }
}

/** Checks that work gets the same rows, with the same columns in the same order, from both. */
async function expectSame(work) {
  const rows = await inStage(work);
  const expected = await inPg(work);
  expect(rows).toStrictEqual(expected);
  const columns = (row) => Object.getOwnPropertyNames(row);
  expect(rows.map(columns)).toEqual(expected.map(columns));
  return rows;
}

function expectSameAnswer(sql, parameters) {
  return expectSame((query) => query(sql, parameters));
}

const DETAILS = ["code", "message", "severity", "detail", "hint", "schema", "table", "column"];

/** Checks that work is refused by both with the same error, and answers it. */
async function expectSameRefusal(work) {
  const error = await rejection(inStage(work));
  const expected = await rejection(inPg(work));
  const told = (from) => [...DETAILS, "dataType", "constraint"].map((name) => [name, from[name]]);
  expect(told(error)).toEqual(told(expected));
  expect(error.name).toBe("QueryFailedError");
  return error;
}

/** Values of every kind of type, as literals. */
const LITERALS = {
  int2: ["0", "-32768", "32767"],
  int4: ["0", "-2147483648", "2147483647"],
  int8: ["0", "-9223372036854775808", "9223372036854775807"],
  numeric: [
    "0",
    "0.00",
    "1.50",
    "0.00001",
    "-0.000000000000001234",
    "-123456789012345678901234567890.5",
    "1e20",
    "1e-20",
    "10000",
    "99990000.0001",
    "NaN",
    "Infinity",
    "-Infinity",
  ],
  "numeric(10,3)": ["1.5", "-9999999.999"],
  float4: ["0", "-0", "1.1", "1e10", "1e-10", "3.4028235e38", "16777217", "NaN", "-Infinity"],
  float8: [
    "0",
    "-0",
    "1.1",
    "0.1",
    "-1e-7",
    "1e300",
    "1e21",
    "5e-324",
    "1.7976931348623157e308",
    "NaN",
    "Infinity",
    "-Infinity",
  ],
  bool: ["true", "false"],
  text: ["", "text", "é漢😀", " two  spaces ", "NULL", '{"a", b}', "back\\slash", "new\nline"],
  varchar: ["", "text"],
  "varchar(5)": ["five"],
  "char(5)": ["ab", "", "12345"],
  bpchar: ["ab  "],
  name: ["name"],
  '"char"': ["x", ""],
  bytea: ["", "\\x00", "\\xdeadbeef00", "text"],
  uuid: ["0e37df36-f698-11e6-8dd4-cb9ced3df976", "00000000-0000-0000-0000-000000000000"],
  json: ['{"b": 1,  "a": [1, {"c": null}]}', "null", '"text"', "[]", "1.10", "true", " 1 "],
  jsonb: ['{"b": 1,  "a": [1, {"c": null}]}', "null", '"text"', "[]", "1.10", "false", "1e2"],
  jsonpath: ["$.a[*] ? (@ > 1)"],
  date: ["2024-05-06", "1969-12-31", "0001-01-01", "0044-03-15 BC", "12345-06-07", "infinity"],
  time: ["00:00", "12:34:56.789012", "24:00"],
  timetz: ["12:34:56.789+05:30", "00:00-11"],
  timestamp: [
    "2024-05-06 07:08:09",
    "2024-05-06 07:08:09.1",
    "2024-05-06 07:08:09.123456",
    "1969-12-31 23:59:59.999999",
    "0001-01-01 00:00:00",
    "0044-03-15 12:00:00 BC",
    "12345-06-07 08:09:10.5",
    "infinity",
    "-infinity",
  ],
  timestamptz: [
    "2024-05-06 07:08:09+02",
    "2024-05-06 07:08:09.123456+05:45",
    "1969-12-31 23:59:59.999999Z",
    "0044-03-15 12:00:00Z BC",
    "12345-06-07 08:09:10.5Z",
    "infinity",
    "-infinity",
  ],
  interval: [
    "0",
    "1 year 2 mons 3 days 04:05:06.789",
    "-1 day +02:03:04",
    "40 hours",
    "1 week ago",
  ],
  inet: ["127.0.0.1", "10.1.2.3/8", "::1", "2001:db8::/32"],
  cidr: ["10.0.0.0/8", "192.168.1.1/32", "2001:db8::/32"],
  macaddr: ["08:00:2b:01:02:03"],
  macaddr8: ["08:00:2b:01:02:03:04:05"],
  point: ["(1.5,-2)"],
  line: ["{1,2,3}"],
  lseg: ["[(1,2),(3,4)]"],
  box: ["(3,4),(1,2)"],
  path: ["((1,2),(3,4))", "[(1,2),(3,4)]"],
  polygon: ["((1,2),(3,4),(5,6))"],
  circle: ["<(1,2),3.5>"],
  money: ["1234.50", "-0.01"],
  xml: ["<a b='c'>d</a>"],
  tsvector: ["fat:1A cat:2 'it''s':3"],
  tsquery: ["fat & !cat"],
  int4range: ["[1,5)", "empty", "(,7]"],
  numrange: ["[1.50,2]"],
  tstzrange: ["[2024-01-01Z,2024-02-01Z)"],
  int4multirange: ["{[1,3),[5,7)}"],
  "bit(3)": ["101"],
  varbit: ["10110", ""],
  oid: ["0", "4294967295"],
  regclass: ["pg_class", "person"],
  regtype: ["int4", "mood"],
  regproc: ["now"],
  tid: ["(1,2)"],
  pg_lsn: ["16/B374D848"],
  xid: ["17"],
  mood: ["sad", 'very happy, "really"'],
  positive: ["7"],
  word: ["word"],
  pair: ['(1,"a ""b"", c")', "(,)"],
  person: ['(3,Cid,ok,"{x,NULL}")'],
};

const quoted = (literal) => `'${literal.replaceAll("'", "''")}'`;
const VALUES = Object.entries(LITERALS).flatMap(([type, literals]) =>
  literals.map((literal) => [type, literal]),
);

describe("a value is what it is in pg", () => {
  test.each(VALUES)("%s: %j", async (type, literal) => {
    await expectSameAnswer(`SELECT CAST(${quoted(literal)} AS ${type}) AS value`);
  });

  test.each(Object.keys(LITERALS))("null of type %s", async (type) => {
    const rows = await expectSameAnswer(`SELECT CAST(NULL AS ${type}) AS value`);
    expect(rows).toEqual([{ value: null }]);
  });

  test.each(Object.entries(LITERALS))("arrays of %s", async (type, literals) => {
    const elements = literals.map((literal) => `CAST(${quoted(literal)} AS ${type})`);
    const [first] = elements;
    await expectSameAnswer(
      `SELECT ARRAY[${elements.join(", ")}] AS value,
         ARRAY[NULL, ${first}, NULL] AS nulls,
         ARRAY[[${first}, NULL], [NULL, ${first}]] AS nested,
         CAST('{}' AS ${type}[]) AS empty`,
    );
  });

  test.each([
    ["void", "SELECT pg_sleep(0)"],
    ["void among others", "SELECT 1 AS a, pg_sleep(0), 'x' AS b"],
    ["a whole row", "SELECT person FROM person ORDER BY id"],
    ["rows in an array", "SELECT array_agg(person ORDER BY id) AS people FROM person"],
    ["a row as JSON", "SELECT to_jsonb(person) AS person FROM person ORDER BY id"],
    ["text without a type", "SELECT 'x' AS value, NULL AS nothing"],
    ["arrays with quotes", `SELECT ARRAY['"', '\\', ',', '{}', '', ' ', 'null', NULL] AS value`],
    ["an array from 0", "SELECT '[0:1]={1,2}'::int[] AS value"],
    ["times in arrays", "SELECT ARRAY[timestamptz '2024-01-01 12:00:00.123456+03', NULL] AS value"],
    ["system columns", "SELECT tableoid::regclass, ctid FROM person ORDER BY id"],
    ["a vector of the catalog", "SELECT indkey, indoption FROM pg_index ORDER BY 1, 2 LIMIT 3"],
    ["what a catalog says", "SELECT oid, typname, typtype, typarray FROM pg_type ORDER BY oid"],
    ["information_schema", "SELECT * FROM information_schema.columns WHERE table_name = 'person'"],
  ])("%s", async (_, sql) => {
    await expectSameAnswer(sql);
  });

  test("rights, which PostgreSQL can only write as text", async () => {
    await expectSameAnswer("SELECT relacl FROM pg_class WHERE relname = 'pg_class'");
  });

  test("an anonymous record", async () => {
    await expectSameAnswer("SELECT row(1, 2)");
    await expectSameAnswer("SELECT row($1::int, 2)", [1]);
  });

  test("of 1600 columns, none of them common", async () => {
    const columns = Array.from({ length: 1600 }, (_, n) => `interval '${n} s' AS c${n}`);
    await expectSameAnswer(`SELECT ${columns.join(", ")}`);
  });

  test("of thousands of rows, none of them common", async () => {
    const rows = await expectSameAnswer(
      `SELECT n, CASE WHEN n % 3 > 0 THEN n * interval '1 s' END AS time,
         (ARRAY['sad', 'ok']::mood[])[1 + n % 2] AS mood, ARRAY[n, NULL] AS list
       FROM generate_series(1, 2500) AS n`,
    );
    expect(rows).toHaveLength(2500);
  });
});

describe("a project's own parser gets the text that it gets from pg", () => {
  const restored = [];

  afterEach(() => {
    for (const [oid, parser] of restored.splice(0)) {
      types.setTypeParser(oid, parser);
    }
  });

  test.each(VALUES)("for %s: %j", async (type, literal) => {
    const sql = `SELECT CAST(${quoted(literal)} AS ${type}) AS value`;
    const { fields } = await database.pool.query(sql);
    const oid = fields[0].dataTypeID;
    restored.push([oid, types.getTypeParser(oid, "text")]);
    types.setTypeParser(oid, (text) => ({ text }));
    const [{ value }] = await expectSameAnswer(sql);
    expect(typeof value.text).toBe("string");
  });
});

describe("rows are those of pg", () => {
  test.each([
    ["none", "SELECT * FROM person WHERE false"],
    ["without columns", "SELECT FROM person"],
    ["columns of one name", "SELECT 1 AS a, 2 AS b, 3 AS a"],
    ["columns without a name", "SELECT 1, 'x', 2"],
    ["columns with names of properties", 'SELECT 1 AS constructor, 2 AS "toString", 3 AS length'],
    ["columns named like numbers", 'SELECT 1 AS b, 2 AS "1", 3 AS "0"'],
    ["a semicolon at the end", "SELECT 1 AS a;"],
    ["comments", "/* SELECT 2 */ SELECT 1 AS a -- COMMIT"],
    ["no statement", ""],
    ["only a comment", "-- nothing"],
    ["VALUES", "VALUES (1, 'a'), (2, NULL)"],
    ["TABLE", "TABLE person"],
    ["WITH", "WITH a AS (SELECT 1 AS x UNION SELECT 2) SELECT * FROM a ORDER BY x"],
    ["SHOW", "SHOW server_version"],
    ["EXPLAIN", "EXPLAIN (COSTS off) SELECT * FROM person"],
    ["INSERT", "INSERT INTO person VALUES (3, 'Cid')"],
    ["INSERT RETURNING", "INSERT INTO person VALUES (3, 'Cid'), (4, 'Dan') RETURNING id, name"],
    ["INSERT RETURNING of nothing", "INSERT INTO person SELECT 1, 'x' WHERE false RETURNING *"],
    ["UPDATE", "UPDATE person SET name = 'x'"],
    ["UPDATE RETURNING", "UPDATE person SET name = name || '!' WHERE id = 1 RETURNING *"],
    ["DELETE", "DELETE FROM person"],
    ["DELETE RETURNING", "DELETE FROM person WHERE id = 2 RETURNING mood, id"],
    [
      "upserts",
      `INSERT INTO person VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name
       RETURNING id, name`,
    ],
    ["data-modifying WITH", "WITH gone AS (DELETE FROM person RETURNING id) SELECT * FROM gone"],
    ["CREATE TABLE", "CREATE TABLE made (id int)"],
    ["CREATE TABLE AS", "CREATE TABLE made AS SELECT 1 AS id"],
    ["ALTER TABLE", "ALTER TABLE person ADD COLUMN age int"],
    ["DROP TABLE", "DROP TABLE person"],
    ["TRUNCATE", "TRUNCATE person"],
    ["DO", "DO $$ BEGIN PERFORM 1; END $$"],
    ["SET LOCAL", "SET LOCAL work_mem = '5MB'"],
    ["LOCK TABLE", "LOCK TABLE person IN SHARE MODE"],
    ["NOTIFY", "NOTIFY nobody"],
  ])("%s", async (_, sql) => {
    await expectSameAnswer(sql);
  });

  test("a column called __proto__ is a column like any other", async () => {
    const rows = await expectSameAnswer(
      `SELECT 1 AS a, '{"polluted": true}'::jsonb AS "__proto__", 2 AS b`,
    );
    expect(rows[0].polluted).toBeUndefined();
    expect(Object.getPrototypeOf(rows[0])).toBe(Object.prototype);
  });

  test("of statements that belong together", async () => {
    await expectSame(async (query) => [
      ...(await query("CREATE TEMPORARY TABLE part (id int, at date)")),
      ...(await query("INSERT INTO part VALUES (1, '2024-01-01'), (2, NULL) RETURNING *")),
      ...(await query("DECLARE parts CURSOR FOR SELECT * FROM part ORDER BY id DESC")),
      ...(await query("FETCH 1 FROM parts")),
      ...(await query("FETCH 1 FROM parts")),
      ...(await query("FETCH 1 FROM parts")),
      ...(await query("SAVEPOINT before")),
      ...(await query("DELETE FROM part RETURNING id")),
      ...(await query("ROLLBACK TO SAVEPOINT before")),
      ...(await query("RELEASE before")),
      ...(await query("PREPARE by_id AS SELECT * FROM part WHERE id = $1")),
      ...(await query("EXECUTE by_id(1)")),
      ...(await query("DEALLOCATE by_id")),
    ]);
  });

  test("of statements that are sent at once, each its own", async () => {
    const numbers = Array.from({ length: 50 }, (_, number) => number);
    const answers = await inStage((query) =>
      Promise.all(
        numbers.map((n) => query(n % 2 ? "SELECT $1::int AS n" : "SELECT $1::text AS n", [n])),
      ),
    );
    expect(answers).toEqual(numbers.map((n) => [{ n: n % 2 ? n : String(n) }]));
  });

  test("in workStage as in atomicPhase_", async () => {
    const { idempotency_key: key } = await service.create({});
    await service.workStage(key, async (manager) => {
      expect(await manager.query("SELECT * FROM person ORDER BY id")).toStrictEqual(
        (await database.pool.query("SELECT * FROM person ORDER BY id")).rows,
      );
      return {};
    });
  });
});

describe("a parameter needs no cast", () => {
  const DATE = new Date("2024-05-06T07:08:09.012Z");
  const BYTES = new Uint8Array([9, 0, 1, 255, 9]);
  const UUID = "0e37df36-f698-11e6-8dd4-cb9ced3df976";
  const QUOTES = ["a", "b,c", 'd"e', "f\\g", "", " ", "NULL", "{}", null, "é😀"];

  const GIVEN = {
    uuid: [UUID, UUID.toUpperCase(), `{${UUID}}`, UUID.replaceAll("-", "")],
    int2: [7, "-8", 9n],
    int4: [5, " 6 ", -2147483648, 7n],
    int8: [5, 2n ** 62n, -(2n ** 63n), "9223372036854775807", Number.MAX_SAFE_INTEGER],
    numeric: [1.5, "1.50", 5n, 10n ** 30n, "NaN", 1e-7, 1e21, -0],
    float4: [1.1, "Infinity", 16777217],
    float8: [1.1, NaN, Infinity, -Infinity, 1e300, 5e-324, -0, "1e10", 3n],
    bool: [true, false, "t", "yes", 1, "off"],
    text: ["", "é漢😀", "lone \ud800", 5, 5n, true, { a: 1 }, DATE, [1, 'a"b', null, [2]], []],
    varchar: ["text"],
    "varchar(5)": ["five"],
    "char(5)": ["ab"],
    name: ["n".repeat(80)],
    '"char"': ["x"],
    jsonb: [{ a: [1, null, { b: "é" }] }, '{"a": 1}', '"text"', "null", 5, true, "[1, 2]"],
    json: [{ a: [1, null, { b: "é" }] }, '{"a":  1}', '"text"', "null", 5, false, "[1, 2]"],
    timestamptz: [
      DATE,
      DATE.toISOString(),
      "2024-05-06 07:08:09.123456+02",
      "infinity",
      "2024-05-06",
    ],
    timestamp: [DATE, "2024-05-06 07:08:09.123456", "-infinity"],
    date: [DATE, "2024-05-06", "infinity"],
    time: ["12:34:56.789"],
    timetz: ["12:34:56+05:30"],
    interval: ["1 day 02:03:04.5", "P1Y2M"],
    inet: ["10.0.0.1", "10.0.0.1/8", "::1"],
    cidr: ["10.0.0.0/8"],
    macaddr: ["08:00:2b:01:02:03"],
    bytea: [
      Buffer.from([0, 1, 255]),
      Buffer.alloc(0),
      BYTES,
      BYTES.subarray(1, 4),
      new Uint16Array([1, 2]),
      new DataView(BYTES.buffer, 2, 2),
      "\\x0102",
      "text",
    ],
    mood: ["ok", 'very happy, "really"'],
    positive: [5, "6"],
    word: ["word"],
    pair: ['(1,"a b")'],
    int4range: ["[1,5)"],
    "bit(3)": ["101"],
    money: ["12.50"],
    tsvector: ["a b"],
    "text[]": [QUOTES, [], "{a,b}", [["a"], ["b"]], [1, true, DATE, { a: 1 }]],
    "varchar[]": [["a", null]],
    "int4[]": [
      [1, null, -3],
      [
        [1, 2],
        [3, 4],
      ],
      [],
      "{5,6}",
    ],
    "int8[]": [[1n, 2n ** 60n, 3]],
    "numeric[]": [[1.5, "2.50", null]],
    "float8[]": [[1.5, NaN, -Infinity]],
    "bool[]": [[true, false, null]],
    "uuid[]": [[UUID, null]],
    "jsonb[]": [
      [{ a: 1 }, { b: 'x, "y" \\' }, null],
      ["1", '"text"'],
    ],
    "json[]": [[{ a: [1, 2] }]],
    "timestamptz[]": [[DATE, null]],
    "timestamp[]": [[DATE]],
    "date[]": [[DATE, "2024-01-01"]],
    "bytea[]": [[Buffer.from([0, 255]), BYTES.subarray(1, 3), null]],
    "interval[]": [["1 day", null]],
    "inet[]": [["10.0.0.1"]],
    "mood[]": [["sad", 'very happy, "really"', null]],
    "positive[]": [[1, 2]],
    "pair[]": [["(1,a)", null]],
  };
  /** Types that PostgreSQL cannot compare, or not with a parameter. */
  const INCOMPARABLE = new Set(["json", "json[]", "pair"]);
  const column = (type) => `"of ${type.replaceAll('"', "")}"`;

  beforeAll(async () => {
    const columns = Object.keys(GIVEN).map((type) => `${column(type)} ${type}`);
    await database.pool.query(`CREATE TABLE given (${columns.join(", ")})`);
  });

  /** Stores a value, and finds it. */
  function storing(type, value) {
    const name = column(type);
    return async (query) => {
      const sql = `INSERT INTO given (${name}) VALUES ($1) RETURNING ${name} AS value`;
      const stored = await query(sql, [value]);
      const found = INCOMPARABLE.has(type)
        ? []
        : await query(`SELECT ${name} AS value FROM given WHERE ${name} = $1`, [value]);
      return [...stored, ...found];
    };
  }

  test.each(
    Object.entries(GIVEN).flatMap(([type, values]) => values.map((value) => [type, value])),
  )("of type %s: %p", async (type, value) => {
    const rows = await expectSame(storing(type, value));
    expect(rows).toHaveLength(INCOMPARABLE.has(type) ? 1 : 2);
    expect(rows[0].value === null).toBe(value === "null");
  });

  test.each(Object.keys(GIVEN))("of type %s: null and undefined", async (type) => {
    const rows = await expectSame(async (query) => [
      ...(await storing(type, null)(query)),
      ...(await storing(type, undefined)(query)),
    ]);
    expect(rows).toEqual([{ value: null }, { value: null }]);
  });

  test.each([
    ["numbers", [1, 2.5, null]],
    ["objects", [{ a: 1 }, { b: [{ c: "x" }] }]],
    [
      "arrays",
      [
        [1, 2],
        ["a", []],
      ],
    ],
    ["text", ['a"b', "c\\d", ""]],
    ["nothing", []],
  ])("of JSON: an array of %s, which pg itself gets wrong", async (_, value) => {
    for (const type of ["json", "jsonb"]) {
      const [stored] = await inStage(storing(type, value));
      expect(stored).toEqual({ value });
    }
  });

  test.each([
    ["= ANY", "SELECT id FROM person WHERE id = ANY($1) ORDER BY id", [[1, 2, 3]]],
    ["= ANY of enums", "SELECT id FROM person WHERE mood = ANY($1)", [["ok", "sad"]]],
    ["IN", "SELECT id FROM person WHERE id IN ($1, $2) ORDER BY id", [1, "2"]],
    ["LIKE", "SELECT id FROM person WHERE name LIKE $1", ["A%"]],
    ["LIMIT and OFFSET", "SELECT id FROM person ORDER BY id LIMIT $1 OFFSET $2", [1, 1]],
    ["a cast", "SELECT $1::int AS a, $2::jsonb AS b, $3::date AS c", [1, { x: 1 }, "2024-01-01"]],
    ["no type", "SELECT $1 AS value", [5]],
    ["no type and no value", "SELECT $1 AS value", [null]],
    ["concatenation", "SELECT $1 || $2 AS value", ["a", "b"]],
    ["arithmetic", "SELECT now() - $1::interval < now() AS value", ["1 day"]],
    ["containment", `SELECT '{"a": 1, "b": 2}'::jsonb @> $1 AS value`, [{ a: 1 }]],
    [
      "unnest",
      "SELECT * FROM unnest($1::int[], $2::text[]) AS u(a, b)",
      [
        [1, 2],
        ["x", null],
      ],
    ],
    ["a function", "SELECT * FROM generate_series(1, $1) AS n", [3]],
    ["the same twice", "SELECT $1::int AS a, $1::int + $2::int AS b, $1::int AS c", [1, 2]],
    ["another order", "SELECT $2::text AS a, $1::int AS b", [1, "x"]],
    ["UPDATE", "UPDATE person SET name = $2, tags = $3 WHERE id = $1 RETURNING *", [1, "x", ["y"]]],
    ["DELETE", "DELETE FROM person WHERE id = $1 RETURNING name", ["2"]],
  ])("in %s", async (_, sql, parameters) => {
    await expectSameAnswer(sql, parameters);
  });

  test("may be one of 33000", async () => {
    const parameters = Array.from({ length: 33_000 }, (_, number) => number);
    const list = parameters.map((number) => `$${number + 1}`).join(", ");
    const sql = `SELECT n FROM generate_series(32998, 33005) AS n WHERE n IN (${list})`;
    expect(await expectSameAnswer(sql, parameters)).toEqual([{ n: 32998 }, { n: 32999 }]);
  });

  test("may be one of many that only the server can read", async () => {
    const parameters = Array.from({ length: 1500 }, (_, number) => `${number} seconds`);
    const list = parameters.map((_, index) => `$${index + 1}::interval`).join(", ");
    await expectSameAnswer(`SELECT ${list}`, parameters);
  });

  test.each([
    ["B.C.", new Date("-000043-03-15T12:00:00.500Z")],
    ["of the year 1", new Date("0001-06-07T08:09:10.011Z")],
    ["after the year 9999", new Date("+012345-06-07T08:09:10.011Z")],
  ])("may be a Date %s", async (_, date) => {
    for (const type of ["timestamptz", "timestamp", "date", "timestamptz[]"]) {
      await expectSame(storing(type, type.endsWith("[]") ? [date] : date));
    }
  });

  test("may say by toPostgres what it is", async () => {
    const money = { amount: 5, toPostgres: () => "5.50" };
    const wrapped = { toPostgres: (prepare) => prepare([1, 2]) };
    await expectSame(storing("numeric", money));
    await expectSame(storing("numeric[]", [money, null]));
    await expectSame(storing("int4[]", wrapped));
  });

  test("may have no JSON, which makes it null", async () => {
    await expectSame(storing("jsonb", { toJSON: () => undefined }));
  });

  test.each([
    ["BigInt in JSON", { a: 1n }],
    ["BigInt in JSON in an array", [{ a: 1n }]],
  ])("with a %s rejects with the TypeError of JSON.stringify", async (_, value) => {
    const error = await rejection(inStage((query) => query("SELECT $1::jsonb", [value])));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("BigInt");
  });

  test("that contains itself rejects", async () => {
    const object = {};
    object.itself = object;
    const list = [];
    list.push(list);
    for (const value of [object, [object], list]) {
      const error = await rejection(inStage((query) => query("SELECT $1::jsonb", [value])));
      expect(error).not.toHaveProperty("severity");
    }
    expect(await inStage((query) => query("SELECT 1 AS one"))).toEqual([{ one: 1 }]);
  });

  test.each([
    ["22P02", "uuid", "no uuid"],
    ["22P02", "uuid", 5],
    ["22P02", "int4", "1.5"],
    ["22P02", "int4", 1.5],
    ["22P02", "int4", ""],
    ["22003", "int4", 2 ** 31],
    ["22003", "int2", 70_000],
    ["22003", "int8", 2n ** 63n],
    ["22P02", "numeric", "x"],
    ["22P02", "float8", "x"],
    ["22003", "float8", "1e400"],
    ["22003", "float8", "1e-400"],
    ["22P02", "bool", "maybe"],
    ["22P02", "bool", 2],
    ["22P02", "jsonb", "{bad"],
    ["22P02", "jsonb", new Date(0)],
    ["22P02", "jsonb", { a: "\ud800" }],
    ["22P05", "jsonb", { a: "\0" }],
    ["22P02", "json", "{bad"],
    ["22021", "text", "a\0b"],
    ["22021", "int4", "1\0"],
    ["22001", "varchar(5)", "longer"],
    ["22007", "timestamptz", "tomorrow or so"],
    ["22008", "timestamptz", "2024-13-45"],
    ["22008", "date", "2024-02-30"],
    ["22007", "interval", "one while"],
    ["22P02", "inet", "10.0.0.256"],
    ["22P02", "cidr", "10.0.0.1/8"],
    ["22P02", "mood", "glad"],
    ["22P02", "mood[]", ["glad"]],
    ["22P02", "int4[]", ["x"]],
    ["22P02", "int4[]", "1, 2"],
    ["22P02", "int4[]", 5],
    ["22P02", "text[]", "text"],
    ["22P02", "text[]", [["a"], ["b", "c"]]],
    ["22P02", "uuid[]", ["x"]],
    ["22P02", "jsonb[]", ["{bad"]],
    ["22023", "bytea", "\\xzz"],
    ["08P01", "int4", Buffer.from([1, 2, 3])],
    ["22P03", "int4", Buffer.from([1, 2, 3, 4, 5])],
    ["23514", "positive", -1],
    ["22P02", "pair", "no pair"],
    ["22026", "bit(3)", "1"],
  ])("is refused as by pg, with %s, as %s: %p", async (code, type, value) => {
    const error = await expectSameRefusal(storing(type, value));
    expect(error.code).toBe(code);
  });

  test("is refused with a code of its class when it is a Date that is none", async () => {
    for (const type of ["timestamptz", "timestamp", "date"]) {
      const error = await rejection(inStage(storing(type, new Date(NaN))));
      expect(error).toMatchObject({ name: "QueryFailedError", code: "22007" });
    }
  });

  test.each([
    ["too few", "SELECT $1::int, $2::int", [1]],
    ["too many", "SELECT $1::int", [1, 2]],
    ["some where there are none", "SELECT 1", [1]],
  ])("is missing or too much, with 08P01: %s", async (_, sql, parameters) => {
    expect(await rejection(inStage((query) => query(sql, parameters)))).toMatchObject({
      name: "QueryFailedError",
      code: "08P01",
    });
    expect(await inStage((query) => query("SELECT 1 AS one"))).toEqual([{ one: 1 }]);
  });
});

describe("a statement that the server refuses rejects as in pg", () => {
  test.each([
    ["42P02", "SELECT $1::int"],
    ["42601", "SELEC 1"],
    ["42P01", "SELECT * FROM nowhere"],
    ["42703", "SELECT nothing FROM person"],
    ["42883", "SELECT no_such_function(1)"],
    ["22012", "SELECT 1 / 0"],
    ["23505", "INSERT INTO person VALUES (1, 'again')"],
    ["23502", "INSERT INTO person VALUES (9, NULL)"],
    ["23514", "SELECT CAST(-1 AS positive)"],
    ["25001", "VACUUM"],
    ["P0001", "DO $$ BEGIN RAISE 'no' USING HINT = 'try later', DETAIL = 'because'; END $$"],
    ["2D000", "DO $$ BEGIN COMMIT; END $$"],
  ])("%s: %s", async (code, sql) => {
    const error = await expectSameRefusal((query) => query(sql));
    expect(error.code).toBe(code);
  });

  test("42P18: a parameter whose type nobody can tell", async () => {
    const sql = "SELECT jsonb_build_object('a', $1)";
    const error = await expectSameRefusal((query) => query(sql, [1]));
    expect(error.code).toBe("42P18");
  });

  test("and aborts the transaction, as there", async () => {
    const error = await expectSameRefusal(async (query) => {
      await query("SELECT 1 / 0").catch(() => {});
      await query("SELECT 1");
    });
    expect(error.code).toBe("25P02");
  });

  test("several statements in one string with 42601, and none of them happens", async () => {
    for (const sql of [
      "SELECT 1; SELECT 2",
      "DELETE FROM person; SELECT 1",
      "DELETE FROM person; COMMIT",
    ]) {
      expect(await rejection(inStage((query) => query(sql)))).toMatchObject({
        name: "QueryFailedError",
        code: "42601",
      });
    }
    expect((await database.pool.query("SELECT FROM person")).rowCount).toBe(2);
  });

  test.each([["COPY person TO STDOUT"], ["COPY person FROM STDIN"]])(
    "%s, which nobody here can answer, and the service goes on",
    async (sql) => {
      expect(await rejection(inStage((query) => query(sql)))).toBeInstanceOf(Error);
      expect(await inStage((query) => query("SELECT 1 AS one"))).toEqual([{ one: 1 }]);
    },
  );

  test("a statement whose body has statements of its own is one", async () => {
    const sql = `CREATE FUNCTION doubled(n int) RETURNS int LANGUAGE sql
      BEGIN ATOMIC SELECT 1; SELECT 2 * n; END`;
    const rows = await inStage(async (query) => {
      expect(await query(sql)).toEqual([]);
      return query("SELECT doubled($1) AS n", [4]);
    });
    expect(rows).toEqual([{ n: 8 }]);
  });

  test("SQL with U+0000, and the service goes on", async () => {
    for (const sql of ["SELECT 'a\0b'", "\0", "SELECT 1\0; COMMIT"]) {
      expect(await rejection(inStage((query) => query(sql)))).toBeInstanceOf(Error);
    }
    expect(await inStage((query) => query("SELECT 1 AS one"))).toEqual([{ one: 1 }]);
  });

  test.each([[undefined], [null], [5], [{ text: "SELECT 1" }], [Buffer.from("SELECT 1")]])(
    "what is no SQL before it reaches the server: %p",
    async (sql) => {
      await inStage(async (query) => {
        const promise = query(sql);
        expect(promise).toBeInstanceOf(Promise);
        expect((await rejection(promise)).type).toBe("invalid_argument");
        expect(await query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
      });
    },
  );

  test.each([["text"], [5], [{}], [true]])(
    "parameters that are no array before they reach the server: %p",
    async (parameters) => {
      await inStage(async (query) => {
        const error = await rejection(query("SELECT $1::text AS x", parameters));
        expect(error.type).toBe("invalid_argument");
        expect(await query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
      });
    },
  );
});

describe("a statement that would end the transaction", () => {
  /** What is prepared outlives everything, and keeps the database from being dropped. */
  async function cleanUp() {
    const { rows } = await database.pool.query(
      "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()",
    );
    for (const { gid } of rows) {
      await database.pool.query(`ROLLBACK PREPARED '${gid}'`);
    }
    await database.pool.query("DROP TABLE IF EXISTS half_done");
  }

  test.each([
    ["COMMIT"],
    ["commit work"],
    ["END"],
    ["ROLLBACK"],
    ["ROLLBACK;"],
    ["ABORT"],
    ["BEGIN"],
    ["START TRANSACTION"],
    ["COMMIT AND CHAIN"],
    ["ROLLBACK AND NO CHAIN"],
    ["COMMIT PREPARED 'x'"],
    ["PREPARE TRANSACTION 'x'"],
    [" \n\t COMMIT"],
    [";; ; COMMIT"],
    ["-- a comment\nCOMMIT"],
    ["-- a comment\rCOMMIT"],
    ["/* a comment */ COMMIT"],
    ["/* a */ -- b\n/* c */COMMIT/* d */"],
    ["/* a /* nested */ comment */ COMMIT"],
    ["/*/**/*/ROLLBACK"],
    ["ROLLBACK /* TO */"],
    ["ROLLBACK -- TO SAVEPOINT x"],
    ["PREPARE /* x */ TRANSACTION 'x'"],
  ])("is refused with invalid_argument: %j", async (sql) => {
    let refused;
    await inStage(async (query) => {
      await query("CREATE TABLE half_done (id int)");
      refused = await query(sql).catch((error) => error);
    }).catch(() => {});
    const { rows } = await database.pool.query("SELECT to_regclass('half_done') AS half_done");
    await cleanUp();
    expect(refused).toMatchObject({ type: "invalid_argument" });
    expect(refused.message).toMatch(/throw to roll back, return to commit/);
    expect(rows).toEqual([{ half_done: null }]);
  });

  test("leaves the stage as it was", async () => {
    const { idempotency_key: key } = await service.create({});
    await service.workStage(key, async (manager) => {
      await manager.query("INSERT INTO person VALUES (7, 'Eve')");
      expect((await rejection(manager.query("ROLLBACK"))).type).toBe("invalid_argument");
      expect((await rejection(manager.query("COMMIT"))).type).toBe("invalid_argument");
      expect((await database.pool.query("SELECT FROM person WHERE id = 7")).rowCount).toBe(0);
      return { response_code: 200 };
    });
    expect((await database.pool.query("DELETE FROM person WHERE id = 7")).rowCount).toBe(1);
    expect((await service.retrieve(key)).response_code).toBe(200);
  });
});

describe("what changes while connections are open", () => {
  const usingFreshEnum = (name) => async (query) => {
    await query(`CREATE TYPE ${name} AS ENUM ('a', 'b')`);
    await query(`CREATE TABLE of_${name} (one ${name}, many ${name}[])`);
    return [
      ...(await query(`INSERT INTO of_${name} VALUES ($1, $2) RETURNING *`, ["b", ["b"]])),
      ...(await query(`SELECT * FROM of_${name} WHERE one = $1`, ["b"])),
      ...(await query(`SELECT one, of_${name} FROM of_${name}`)),
    ];
  };

  test("an enum is known in the transaction that made it", async () => {
    await expectSame(usingFreshEnum("fresh"));
  });

  test("an enum that was rolled back is made again", async () => {
    await expectSame(usingFreshEnum("fresh_again"));
    await expectSame(usingFreshEnum("fresh_again"));
  });

  test("an enum gets a label", async () => {
    await database.pool.query("CREATE TYPE grows AS ENUM ('a')");
    const sql = "SELECT $1::grows AS value";
    expect(await inStage((query) => query(sql, ["a"]))).toEqual([{ value: "a" }]);
    await database.pool.query("ALTER TYPE grows ADD VALUE 'b'");
    expect(await inStage((query) => query(sql, ["b"]))).toEqual([{ value: "b" }]);
  });

  const CHANGES = [
    ["gets a column", "ALTER TABLE changing ADD COLUMN extra text DEFAULT 'new'"],
    ["loses a column", "ALTER TABLE changing DROP COLUMN label"],
    ["has a column renamed", "ALTER TABLE changing RENAME COLUMN label TO title"],
    ["has a column of another type", "ALTER TABLE changing ALTER COLUMN id TYPE text"],
    [
      "is made again",
      `DROP TABLE changing; CREATE TABLE changing (at date, id uuid);
       INSERT INTO changing VALUES ('2024-01-01', md5('one')::uuid)`,
    ],
  ];

  beforeEach(async () => {
    await database.pool.query(
      `DROP TABLE IF EXISTS changing; CREATE TABLE changing (id int, label text);
       INSERT INTO changing VALUES (1, 'one')`,
    );
  });

  const READ = "SELECT * FROM changing";

  test.each(CHANGES)("a table that %s between two stages is read as it is", async (_, change) => {
    const { idempotency_key: key } = await service.create({});
    const read = async () => {
      let rows;
      await service.workStage(key, async (manager) => {
        rows = await manager.query(READ);
        return { recovery_point: "read" };
      });
      return rows;
    };
    expect(await read()).toEqual([{ id: 1, label: "one" }]);
    await database.pool.query(change);
    expect(await read()).toEqual((await database.pool.query(READ)).rows);
  });

  test("a table that changes between two stages does not make the second one run twice", async () => {
    const { idempotency_key: key } = await service.create({});
    const runs = [];
    const read = () =>
      service.workStage(key, async (manager) => {
        runs.push("run");
        await manager.query(READ);
        return { recovery_point: "read" };
      });
    await read();
    await database.pool.query("ALTER TABLE changing ADD COLUMN extra text");
    await read();
    expect(runs).toHaveLength(2);
  });

  test("a table that changes is read as it is however many connections remember it", async () => {
    const many = database.service({ maxConnections: 8 });
    let waiting = 0;
    let goOn;
    const allRead = new Promise((resolve) => (goOn = resolve));
    const keys = await Promise.all(Array.from({ length: 8 }, () => many.create({})));
    await Promise.all(
      keys.map(({ idempotency_key }) =>
        many.workStage(idempotency_key, async (manager) => {
          await manager.query(READ);
          waiting += 1;
          if (waiting === keys.length) {
            goOn();
          }
          await allRead;
          return { recovery_point: "read" };
        }),
      ),
    );
    await database.pool.query("ALTER TABLE changing ADD COLUMN extra text DEFAULT 'new'");
    await many.workStage(keys[0].idempotency_key, async (manager) => {
      expect(await manager.query(READ)).toEqual([{ id: 1, label: "one", extra: "new" }]);
      return {};
    });
  });

  test("the table of the keys itself gets columns of other types", async () => {
    const other = database.service({ schema: "changing keys", maxConnections: 1 });
    await other.migrate();
    await other.create({ idempotency_key: "changing" });
    const useAll = async () => {
      await other.initializeRequest("changing", "POST", {}, "/");
      await other.initializeRequest("", "POST", {}, "/");
      await other.update("changing", { locked_at: null });
      await other.lock("changing");
      await other.workStage("changing", () => ({ recovery_point: "halfway" }));
      await other.retrieve({ recovery_point: "halfway" });
      await other.listStalled();
      await other.prune({ olderThan: "72h" });
      return other.update("changing", { locked_at: null });
    };
    await useAll();
    await database.pool.query(
      `ALTER TABLE "changing keys".idempotency_key ALTER COLUMN request_path TYPE text,
         ALTER COLUMN recovery_point TYPE text, ADD COLUMN note text`,
    );
    expect((await useAll()).recovery_point).toBe("halfway");
  });

  test.each(CHANGES)("a table that %s between two phases is read as it is", async (_, change) => {
    const read = () => service.atomicPhase_((manager) => manager.query(READ));
    expect(await read()).toEqual([{ id: 1, label: "one" }]);
    await database.pool.query(change);
    expect(await read()).toEqual((await database.pool.query(READ)).rows);
  });

  test("a table that is changed in the stage itself is read as it is", async () => {
    await expectSame(async (query) => [
      ...(await query(READ)),
      ...(await query("ALTER TABLE changing ADD COLUMN extra text DEFAULT 'new'")),
      ...(await query(READ)),
      ...(await query("ALTER TABLE changing ALTER COLUMN id TYPE text")),
      ...(await query(READ)),
    ]);
  });

  test("a column whose type changes takes parameters of the new type", async () => {
    const sql = "INSERT INTO changing (id) VALUES ($1) RETURNING id";
    expect(await inStage((query) => query(sql, [2]))).toEqual([{ id: 2 }]);
    await database.pool.query("ALTER TABLE changing ALTER COLUMN id TYPE text");
    await expectSameAnswer(sql, ["two"]);
  });

  test.each(["DEALLOCATE ALL", "DISCARD ALL"])("%s is refused", async (sql) => {
    expect((await rejection(inStage((query) => query(sql)))).type).toBe("invalid_argument");
  });
});

describe("settings of the database hold for stages as for pg", () => {
  const SETTINGS = [
    ["IntervalStyle", "iso_8601", "SELECT interval '1 day 2 hours' AS value"],
    ["bytea_output", "escape", "SELECT '\\x0061ff'::bytea AS value"],
    ["search_path", "elsewhere, public", "SELECT current_setting('search_path') AS value"],
  ];

  test.each(SETTINGS)("%s = %s: %s", async (name, value, sql) => {
    const { pathname } = new URL(database.url);
    const set = `ALTER DATABASE ${pathname.slice(1)} SET ${name}`;
    await database.pool.query(`${set} = ${name === "search_path" ? value : quoted(value)}`);
    const fresh = database.service({ maxConnections: 2 });
    const client = new Client({ connectionString: database.url });
    try {
      await client.connect();
      const rows = await inStage((query) => query(sql), fresh);
      expect(rows).toEqual((await client.query(sql)).rows);
    } finally {
      await client.end();
      await fresh.close();
      await database.pool.query(`ALTER DATABASE ${pathname.slice(1)} RESET ${name}`);
    }
  });
});

test("TimeZone and DateStyle are UTC and ISO, MDY on the service's connections", async () => {
  const settings = ["TimeZone", "DateStyle"];
  const shown = settings.map((name) => inStage((query) => query(`SHOW ${name}`)));
  expect(await Promise.all(shown)).toEqual([[{ TimeZone: "UTC" }], [{ DateStyle: "ISO, MDY" }]]);
});

describe("times in a process with a time zone of its own", () => {
  /** Prints what a stage and what `pg` answer to the same statements, as pairs. */
  const SCRIPT = `
    "use strict";
    const [, packagePath, pgPath, databaseUrl] = process.argv;
    const { IdempotencyKeyService } = require(packagePath);
    const { Client } = require(pgPath);

    const DATES = [
      "2024-07-01T12:34:56.789Z", "2024-01-01T00:00:00.000Z", "2024-03-10T06:59:59.999Z",
      "2024-03-10T07:00:00.000Z", "2024-11-03T05:30:00.000Z", "2024-11-03T06:30:00.000Z",
      "1970-01-01T00:00:00.000Z", "1969-12-31T23:59:59.999Z", "2038-01-19T03:14:08.000Z",
    ].map((text) => new Date(text));
    const TYPES = ["timestamptz", "timestamp", "date", "text"];
    const statements = DATES.flatMap((date) => [
      ...TYPES.flatMap((type) => [
        ["SELECT $1::" + type + " AS value", [date]],
        ["SELECT $1::" + type + "[] AS value", [[date, null]]],
        ["SELECT CAST($1 AS " + type + ")::text AS value", [date]],
      ]),
      ["INSERT INTO moment VALUES ($1, $2, $3) RETURNING *", [date, date, date]],
      ["SELECT * FROM moment WHERE a = $1 AND b = $2 AND c = $3", [date, date, date]],
      ["SELECT timestamp '" + date.toISOString().slice(0, -1) + "' AS value", []],
      ["SELECT timestamptz '" + date.toISOString() + "' AS value", []],
      ["SELECT date '" + date.toISOString().slice(0, 10) + "' AS value", []],
    ]);

    (async () => {
      const service = new IdempotencyKeyService({}, { databaseUrl });
      const client = new Client({ connectionString: databaseUrl });
      await client.connect();
      const create = "CREATE TEMPORARY TABLE moment (a timestamptz, b timestamp, c date)";
      await client.query(create);
      const answers = [];
      await service.atomicPhase_(async (manager) => {
        await manager.query(create);
        for (const [sql, parameters] of statements) {
          const { rows } = await client.query(sql, parameters);
          answers.push([sql, rows, await manager.query(sql, parameters)]);
        }
      });
      await client.end();
      await service.close();
      const offset = new Date("2024-07-01").getTimezoneOffset();
      process.stdout.write(JSON.stringify({ offset, answers }));
    })();
  `;

  function run(TZ) {
    const parameters = [path.join(__dirname, ".."), require.resolve("pg"), database.url];
    const child = spawn(process.execPath, ["-e", SCRIPT, ...parameters], {
      env: { ...process.env, TZ },
    });
    return new Promise((resolve, reject) => {
      let output = "";
      let errors = "";
      child.stdout.on("data", (data) => (output += data));
      child.stderr.on("data", (data) => (errors += data));
      child.once("error", reject);
      child.once("close", (code) =>
        code === 0 ? resolve(JSON.parse(output)) : reject(new Error(errors)),
      );
    });
  }

  test.each([
    ["America/New_York", 240],
    ["Asia/Kolkata", -330],
    ["Pacific/Kiritimati", -840],
  ])("are those of pg: %s", async (zone, offset) => {
    const result = await run(zone);
    expect(result.offset).toBe(offset);
    expect(result.answers.length).toBeGreaterThan(100);
    for (const [sql, expected, rows] of result.answers) {
      expect([sql, rows]).toEqual([sql, expected]);
    }
  });
});
