"use strict";

const {
  And,
  Any,
  ArrayContainedBy,
  ArrayContains,
  ArrayOverlap,
  Between,
  Equal,
  ILike,
  In,
  IsNull,
  JsonContains,
  LessThan,
  LessThanOrEqual,
  Like,
  MoreThan,
  MoreThanOrEqual,
  Not,
  Raw,
} = require("typeorm");
const { rejection, useDatabase } = require("./helpers/database");
const { HANDLES } = require("./helpers/handles");

const database = useDatabase();
let service;

/** PostgreSQL keeps the microseconds, a Date does not. */
const KEYS = {
  alpha: {
    created_at: "2024-01-01T10:00:00.123456Z",
    locked_at: null,
    request_method: "POST",
    request_params: { id: "cart_1", nested: { x: [1, { z: 2 }], y: null } },
    request_path: "/store/carts/1",
    response_code: 200,
    response_body: { order: { id: "order_1" } },
    recovery_point: "finished",
  },
  beta: {
    created_at: "2024-02-01T10:00:00.000001Z",
    locked_at: "2024-02-02T10:00:00.654321Z",
    request_method: "GET",
    request_params: { id: "cart_2" },
    request_path: "/Store/Orders/2",
    response_code: 404,
    response_body: "text",
    recovery_point: "started",
  },
  gamma: {
    created_at: "2024-03-01T10:00:00Z",
    locked_at: null,
    request_method: "POST",
    request_params: [1, 2],
    request_path: null,
    response_code: null,
    response_body: null,
    recovery_point: "50%_done",
  },
  delta: {
    created_at: "1969-07-20T20:17:40.123456Z",
    locked_at: null,
    request_method: null,
    request_params: null,
    request_path: "/admin/100 percent",
    response_code: 500,
    response_body: 7,
    recovery_point: "started",
  },
};
const ALL = Object.keys(KEYS);

beforeAll(async () => {
  service = database.service();
  for (const [name, columns] of Object.entries(KEYS)) {
    await service.create({ id: `ikey_${name}`, idempotency_key: name, ...columns });
  }
});

/**
 * Checks which of the keys a selector describes: what it answers by itself, and for each key
 * whether it is one of them.
 */
async function expectSelected(selector, names) {
  const found = await service.retrieve(selector).catch((error) => error);
  const columns = columnsOf(selector);
  if (names.length === 1) {
    expect(found).not.toBeInstanceOf(Error);
    expect(found.idempotency_key).toBe(names[0]);
  } else if (names.length === 0) {
    expect(found).toMatchObject({
      type: "not_found",
      message: `Idempotency key with constraints on ${columns} was not found`,
    });
  } else {
    expect(found.message).toBe(
      `Multiple keys were found for constraints on ${columns}. There should only be one.`,
    );
    expect(found.type).toBeUndefined();
  }
  const each = await Promise.all(ALL.map((name) => isSelected(selector, name)));
  expect(ALL.filter((_, index) => each[index])).toEqual(names);
}

/** The columns that a selector has conditions on, in the table's order. */
function columnsOf(selector) {
  const alternatives = Array.isArray(selector) ? selector : [selector];
  const isNamed = (column) => alternatives.some((alternative) => alternative[column] !== undefined);
  const columns = ["id", "idempotency_key", ...Object.keys(KEYS.alpha)];
  return columns.filter(isNamed).join(", ") || "no column";
}

async function isSelected(selector, name) {
  const alternatives = Array.isArray(selector) ? selector : [selector];
  const only = (alternative) =>
    "id" in alternative ? { idempotency_key: name } : { id: `ikey_${name}` };
  const narrowed = alternatives.map((alternative) => ({ ...alternative, ...only(alternative) }));
  try {
    return (await service.retrieve(narrowed)).idempotency_key === name;
  } catch (error) {
    if (error.type === "not_found") {
      return false;
    }
    throw error;
  }
}

async function expectAllKeysThere() {
  const { rows } = await database.pool.query(
    "SELECT idempotency_key FROM idempotency_key ORDER BY id",
  );
  expect(rows.map((row) => row.idempotency_key)).toEqual([...ALL].sort());
}

describe("equality", () => {
  test.each([
    ["id", "ikey_alpha", ["alpha"]],
    ["idempotency_key", "beta", ["beta"]],
    ["idempotency_key", "BETA", []],
    ["created_at", "2024-01-01T10:00:00.123456Z", ["alpha"]],
    ["created_at", "2024-03-01 11:00:00+01", ["gamma"]],
    ["locked_at", "2024-02-02T10:00:00.654321Z", ["beta"]],
    ["request_method", "POST", ["alpha", "gamma"]],
    ["request_path", "/store/carts/1", ["alpha"]],
    ["request_path", "/store/carts/%", []],
    ["response_code", 404, ["beta"]],
    ["response_code", "404", ["beta"]],
    ["response_code", 201, []],
    ["recovery_point", "started", ["beta", "delta"]],
    ["request_params", { id: "cart_1", nested: { x: [1, { z: 2 }], y: null } }, ["alpha"]],
    ["request_params", { id: "cart_1" }, []],
    ["response_body", { order: { id: "order_1" } }, ["alpha"]],
    ["response_body", "text", ["beta"]],
    ["response_body", 7, ["delta"]],
    ["response_body", {}, []],
  ])("on %s with %j selects %j", async (column, value, names) => {
    await expectSelected({ [column]: value }, names);
  });

  test.each([[200n], [{ lte: 200n }], [In([200n])]])("takes a BigInt: %p", async (value) => {
    await expectSelected({ response_code: value }, ["alpha"]);
  });

  test("of JSON does not depend on the order of its properties", async () => {
    const request_params = { nested: { y: null, x: [1, { z: 2 }] }, id: "cart_1" };
    await expectSelected({ request_params }, ["alpha"]);
  });

  test("of several columns has to hold for all of them", async () => {
    await expectSelected({ request_method: "POST", recovery_point: "finished" }, ["alpha"]);
    await expectSelected({ request_method: "GET", recovery_point: "finished" }, []);
  });

  test("ignores undefined, whatever it is given for", async () => {
    await expectSelected({ idempotency_key: "alpha", locked_at: undefined }, ["alpha"]);
    await expectSelected({ idempotency_key: "alpha", unknown: undefined }, ["alpha"]);
    await expectSelected({ response_code: { gt: 200, lt: undefined } }, ["beta", "delta"]);
  });

  test.each([[{}], [[]], [{ request_method: undefined }]])(
    "is asked of nothing in %j, so that every key fits",
    async (selector) => {
      expect((await rejection(service.retrieve(selector))).message).toContain("Multiple keys");
    },
  );

  test("finds a key by all that was read of it", async () => {
    for (const name of ["alpha", "beta", "delta"]) {
      const key = await service.retrieve(name);
      expect(await service.retrieve(key)).toEqual(key);
    }
  });
});

describe("null", () => {
  test.each([
    ["request_method", ["delta"]],
    ["request_path", ["gamma"]],
    ["request_params", ["delta"]],
    ["response_code", ["gamma"]],
    ["response_body", ["gamma"]],
    ["locked_at", ["alpha", "gamma", "delta"]],
    ["created_at", []],
  ])("on %s selects %j", async (column, names) => {
    await expectSelected({ [column]: null }, names);
  });
});

describe("an array", () => {
  test.each([
    ["text", { idempotency_key: ["alpha", "delta", "none"] }, ["alpha", "delta"]],
    ["text, once", { id: ["ikey_gamma"] }, ["gamma"]],
    ["numbers", { response_code: [404, 500] }, ["beta", "delta"]],
    ["times", { created_at: ["2024-03-01T10:00:00Z", "2000-01-01"] }, ["gamma"]],
    ["JSON", { request_params: [{ id: "cart_2" }, { id: "cart_3" }] }, ["beta"]],
    ["JSON arrays", { request_params: [[1, 2], [3]] }, ["gamma"]],
    ["JSON of all kinds", { response_body: ["text", 7, true] }, ["beta", "delta"]],
    ["nothing", { idempotency_key: [] }, []],
    ["null, which equals nothing", { request_path: [null, "/store/carts/1"] }, ["alpha"]],
  ])("means one of %s", async (_, selector, names) => {
    await expectSelected(selector, names);
  });

  test("may be long", async () => {
    const many = Array.from({ length: 5000 }, (_, number) => `none ${number}`);
    expect((await service.retrieve({ idempotency_key: [...many, "beta"] })).idempotency_key).toBe(
      "beta",
    );
  });
});

describe("an operator of Medusa's", () => {
  test.each([
    [{ response_code: { gt: 200 } }, ["beta", "delta"]],
    [{ response_code: { gte: 200 } }, ["alpha", "beta", "delta"]],
    [{ response_code: { lt: 404 } }, ["alpha"]],
    [{ response_code: { lte: 404 } }, ["alpha", "beta"]],
    [{ response_code: { gt: 200, lt: 500 } }, ["beta"]],
    [{ response_code: { gte: 500, lte: 200 } }, []],
    [{ idempotency_key: { gt: "alpha", lte: "delta" } }, ["beta", "delta"]],
    [{ created_at: { gte: "2024-01-15", lt: "2024-03-01" } }, ["beta"]],
    [{ created_at: { lt: new Date("1970-01-01") } }, ["delta"]],
    [{ request_path: { contains: "stORE" } }, ["alpha", "beta"]],
    [{ request_path: { contains: "store", ends_with: "/2" } }, ["beta"]],
    [{ request_path: { starts_with: "/STORE/c" } }, ["alpha"]],
    [{ request_path: { starts_with: "store" } }, []],
    [{ request_path: { ends_with: "PERCENT" } }, ["delta"]],
    [{ request_path: { ends_with: "percen" } }, []],
    [{ idempotency_key: { contains: "A", starts_with: "g", ends_with: "A", gt: "b" } }, ["gamma"]],
  ])("in %j selects %j", async (selector, names) => {
    await expectSelected(selector, names);
  });

  test("leaves % and _ their meaning in patterns, as Medusa does", async () => {
    await expectSelected({ request_path: { contains: "/store/%/1" } }, ["alpha"]);
    await expectSelected({ request_path: { starts_with: "/_dmin" } }, ["delta"]);
    await expectSelected({ recovery_point: { contains: "0\\%\\_d" } }, ["gamma"]);
  });
});

describe("an array of selectors", () => {
  test.each([
    [[{ idempotency_key: "alpha" }], ["alpha"]],
    [
      [{ idempotency_key: "alpha" }, { response_code: 500 }],
      ["alpha", "delta"],
    ],
    [[{ idempotency_key: "none" }, { idempotency_key: "beta" }], ["beta"]],
    [[{ idempotency_key: "none" }, { id: "none" }], []],
    [
      [
        { request_method: "POST", response_code: null },
        { request_method: "GET", response_code: null },
      ],
      ["gamma"],
    ],
  ])("%j selects what any of them does: %j", async (selector, names) => {
    await expectSelected(selector, names);
  });
});

describe("TypeORM's", () => {
  test.each([
    ["Not(value)", { idempotency_key: Not("alpha") }, ["beta", "gamma", "delta"]],
    ["Not(value), which null is not either", { response_code: Not(200) }, ["beta", "delta"]],
    ["Not(Equal)", { idempotency_key: Not(Equal("alpha")) }, ["beta", "gamma", "delta"]],
    ["Not(Not)", { idempotency_key: Not(Not(Like("alpha"))) }, ["alpha"]],
    ["Not(In)", { idempotency_key: Not(In(["alpha", "beta"])) }, ["gamma", "delta"]],
    ["Not(In) of nothing", { idempotency_key: Not(In([])) }, ALL],
    ["Not(IsNull)", { response_code: Not(IsNull()) }, ["alpha", "beta", "delta"]],
    ["Not(Between)", { response_code: Not(Between(200, 404)) }, ["delta"]],
    ["Not(MoreThan)", { response_code: Not(MoreThan(200)) }, ["alpha"]],
    ["Not(Like)", { request_path: Not(Like("/store/%")) }, ["beta", "delta"]],
    ["In", { response_code: In([404, 500]) }, ["beta", "delta"]],
    ["In of nothing", { response_code: In([]) }, []],
    ["In of JSON", { request_params: In([{ id: "cart_2" }, [1, 2]]) }, ["beta", "gamma"]],
    ["IsNull", { response_code: IsNull() }, ["gamma"]],
    ["LessThan", { response_code: LessThan(404) }, ["alpha"]],
    ["LessThanOrEqual", { response_code: LessThanOrEqual(404) }, ["alpha", "beta"]],
    ["MoreThan", { response_code: MoreThan(404) }, ["delta"]],
    ["MoreThanOrEqual", { response_code: MoreThanOrEqual(404) }, ["beta", "delta"]],
    ["Between", { response_code: Between(200, 404) }, ["alpha", "beta"]],
    ["Like", { request_path: Like("/store/%") }, ["alpha"]],
    ["ILike", { request_path: ILike("/store/%") }, ["alpha", "beta"]],
    ["Equal", { idempotency_key: Equal("alpha") }, ["alpha"]],
    ["Equal of JSON", { request_params: Equal({ id: "cart_2" }) }, ["beta"]],
    ["Equal of a JSON array", { request_params: Equal([1, 2]) }, ["gamma"]],
    ["Any", { idempotency_key: Any(["alpha", "delta"]) }, ["alpha", "delta"]],
    ["Any of nothing", { idempotency_key: Any([]) }, []],
    ["And", { response_code: And(MoreThan(200), LessThan(500)) }, ["beta"]],
    ["And of many", { idempotency_key: And(Not("alpha"), Like("%a"), In(ALL)) }, ALL.slice(1)],
    ["JsonContains", { request_params: JsonContains({ nested: { y: null } }) }, ["alpha"]],
    [
      "operators in an array of selectors",
      [{ response_code: IsNull() }, { request_path: ILike("%ORDERS%") }],
      ["beta", "gamma"],
    ],
  ])("%s selects keys", async (_, selector, names) => {
    await expectSelected(selector, names);
  });

  test.each([
    ["ArrayContains", "arrayContains", ArrayContains(["alpha"])],
    ["ArrayContainedBy", "arrayContainedBy", ArrayContainedBy(["alpha"])],
    ["ArrayOverlap", "arrayOverlap", ArrayOverlap(["alpha"])],
  ])("%s is refused by name", async (_, type, operator) => {
    expect(await rejection(service.retrieve({ idempotency_key: operator }))).toMatchObject({
      type: "invalid_argument",
      message: expect.stringContaining(`"${type}"`),
    });
  });
});

describe("TypeORM's Raw", () => {
  const days = (count) => (column) => `${column} > NOW() - '${count} days'::interval`;
  const SELECTED = [
    ["a value", { created_at: Raw("'2024-03-01T10:00:00Z'") }, ["gamma"]],
    ["an expression", { created_at: Raw("now()") }, []],
    ["a condition", { created_at: Raw((column) => `${column} < NOW()`) }, ALL],
    ["a cast", { created_at: Raw(days(1)) }, []],
    [
      "a parameter",
      { created_at: Raw((c) => `${c} >= :at`, { at: "2024-03-01T10:00Z" }) },
      ["gamma"],
    ],
    [
      "a parameter that is a Date",
      { locked_at: Raw((c) => `${c} > :at`, { at: new Date(0) }) },
      ["beta"],
    ],
    ["a number", { response_code: Raw((c) => `${c} > :least`, { least: 200 }) }, ["beta", "delta"]],
    ["a number as text", { response_code: Raw((c) => `${c} = :code`, { code: "404" }) }, ["beta"]],
    [
      "a list",
      { response_code: Raw((c) => `${c} IN (:...codes)`, { codes: [200, 500] }) },
      ["alpha", "delta"],
    ],
    [
      "an array",
      { response_code: Raw((c) => `${c} = ANY(:codes)`, { codes: [200, 500] }) },
      ["alpha", "delta"],
    ],
    [
      "another type",
      { idempotency_key: Raw((c) => `length(${c}) = :length`, { length: 4 }) },
      ["beta"],
    ],
    ["JSON", { request_params: Raw((c) => `${c}->>'id' = :id`, { id: "cart_2" }) }, ["beta"]],
    [
      "JSON that contains",
      { request_params: Raw((c) => `${c} @> :part`, { part: { id: "cart_1" } }) },
      ["alpha"],
    ],
    [
      "null",
      { response_code: Raw((c) => `${c} IS NOT DISTINCT FROM :code`, { code: null }) },
      ["gamma"],
    ],
    ["a boolean", { response_code: Raw((c) => `(${c} = 404) = :is`, { is: true }) }, ["beta"]],
    [
      "a parameter twice",
      { id: Raw((c) => `${c} = :x OR ${c} = :x`, { x: "ikey_beta" }) },
      ["beta"],
    ],
    [
      "a parameter named as a type",
      { response_code: Raw((c) => `${c}::int = :int`, { int: 404 }) },
      ["beta"],
    ],
    ["another column", { id: Raw(() => '"IdempotencyKey"."response_code" = 404') }, ["beta"]],
    [
      "a subquery, whose columns are its own",
      {
        id: Raw(
          (c) => `EXISTS (SELECT FROM (VALUES ('ikey_beta')) cart (id) WHERE cart.id = ${c})`,
        ),
      },
      ["beta"],
    ],
    [
      "OR, which stays in its place",
      { response_code: 404, id: Raw(() => "true OR true") },
      ["beta"],
    ],
    ["a comment", { response_code: 404, id: Raw(() => "true -- :x") }, ["beta"]],
    [
      "lines and quotes",
      { id: Raw((c) => `${c} <> '\n  @table '\nAND ${c} = 'ikey_beta'`) },
      ["beta"],
    ],
    ["Not", { response_code: Not(Raw((c) => `${c} = :code`, { code: 404 })) }, ["alpha", "delta"]],
    [
      "And",
      {
        response_code: And(
          MoreThan(200),
          Raw((c) => `${c} < :most`, { most: 500 }),
        ),
      },
      ["beta"],
    ],
    [
      "an array of selectors, beside other values",
      [
        { response_code: 200, id: Raw((c) => `${c} LIKE :like`, { like: "%alpha" }) },
        { recovery_point: "started", id: Raw((c) => `${c} LIKE :like`, { like: "%delta" }) },
      ],
      ["alpha", "delta"],
    ],
  ];

  test.each(SELECTED)("selects keys by %s", async (_, selector, names) => {
    await expectSelected(selector, names);
  });

  test.each(HANDLES)("selects the same through %s", async (_, open) => {
    const handles = await open(database);
    const bindable = handles.service();
    for (const [name, selector, names] of SELECTED.filter(([, , { length }]) => length === 1)) {
      const found = await handles.transaction((handle) =>
        bindable.withTransaction(handle).retrieve(selector),
      );
      expect([name, found.idempotency_key]).toEqual([name, ...names]);
    }
  });

  test("takes a value as a value, whatever is in it", async () => {
    for (const x of [
      "' OR true --",
      "\\' OR true --",
      "$1",
      ":x",
      "'; DELETE FROM idempotency_key; --",
    ]) {
      const error = await rejection(service.retrieve({ id: Raw((c) => `${c} = :x`, { x }) }));
      expect(error.type).toBe("not_found");
      expect(error.message).not.toContain(x);
    }
    await expectAllKeysThere();
  });

  test.each([
    ["no SQL", /not undefined/, Raw(undefined)],
    ["a number", /not number/, Raw(5)],
    ["a function that returns none", /not object/, Raw(async () => "true")],
    ["several statements", /one statement/, Raw("now(); DELETE FROM idempotency_key")],
    ["a list that is none", /":...x" takes an array/, Raw((c) => `${c} IN (:...x)`, { x: "a" })],
    ["a function as a value", /":x" is a function/, Raw((c) => `${c} = :x`, { x: () => "1" })],
    ["another operator around it", /inside of "lessThan"/, LessThan(Raw("now()"))],
  ])("refuses %s", async (_, message, operator) => {
    expect(await rejection(service.retrieve({ created_at: operator }))).toMatchObject({
      type: "invalid_argument",
      message: expect.stringMatching(message),
    });
    await expectAllKeysThere();
  });

  test.each([
    ["a parameter without a value", "42601", Raw((c) => `${c} = :x`)],
    ["an empty list", "42601", Raw((c) => `${c} IN (:...x)`, { x: [] })],
    ["a value of another type", "22P02", Raw((c) => `${c} = :x`, { x: "abc" })],
    ["U+0000", "22021", Raw((c) => `${c} = :x`, { x: "\0" })],
    ["SQL that is none", "42601", Raw(() => ") OR (")],
  ])("leaves %s to the database: %s", async (_, code, operator) => {
    expect(await rejection(service.retrieve({ response_code: operator }))).toMatchObject({ code });
  });
});

describe("a Date that was read", () => {
  const EQUAL_TO = [
    ["itself", (date) => date],
    ["an array of it", (date) => [date]],
    ["gte and lte", (date) => ({ gte: date, lte: date })],
    ["Equal", (date) => Equal(date)],
    ["In", (date) => In([date])],
    ["Between", (date) => Between(date, date)],
    ["LessThanOrEqual", (date) => And(LessThanOrEqual(date), MoreThanOrEqual(date))],
  ];
  const OTHER_THAN = [
    ["gt", (date) => ({ gt: date })],
    ["lt", (date) => ({ lt: date })],
    ["Not", (date) => Not(date)],
    ["Not(In)", (date) => Not(In([date]))],
    ["MoreThan", (date) => MoreThan(date)],
  ];

  test.each(EQUAL_TO)("finds its key again, given as %s", async (_, condition) => {
    for (const name of ALL) {
      const { created_at } = await service.retrieve(name);
      await expectSelected({ created_at: condition(created_at) }, [name]);
    }
  });

  test.each(OTHER_THAN)("does not find its own key, given as %s", async (_, condition) => {
    for (const name of ALL) {
      const { created_at } = await service.retrieve(name);
      expect(await isSelected({ created_at: condition(created_at) }, name)).toBe(false);
    }
  });

  test("finds a locked key by locked_at", async () => {
    const { locked_at } = await service.retrieve("beta");
    await expectSelected({ locked_at }, ["beta"]);
  });

  test("equals the milliseconds that the server cuts the time to", async () => {
    const { rows } = await database.pool.query(
      `SELECT idempotency_key, 1000 * extract(epoch FROM date_trunc('milliseconds', created_at)) AS ms
       FROM idempotency_key`,
    );
    expect(rows).toHaveLength(ALL.length);
    for (const { idempotency_key, ms } of rows) {
      expect((await service.retrieve(idempotency_key)).created_at.getTime()).toBe(Number(ms));
    }
  });
});

describe("the error", () => {
  test("for no key names the columns, and repeats no value", async () => {
    const error = await rejection(
      service.retrieve({ idempotency_key: "none", request_params: { a: [1, null] } }),
    );
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      type: "not_found",
      message: "Idempotency key with constraints on idempotency_key, request_params was not found",
      date: expect.any(Date),
    });
  });

  test("for several keys is plain", async () => {
    const error = await rejection(service.retrieve({ recovery_point: "started" }));
    expect(error).toBeInstanceOf(Error);
    expect(error.message).toBe(
      "Multiple keys were found for constraints on recovery_point. There should only be one.",
    );
    expect(error.name).toBe("Error");
    expect(error).not.toHaveProperty("type");
    expect(error).not.toHaveProperty("code");
  });

  test.each([
    ["a name that is none", "payment_id"],
    ["a property of every object", "constructor"],
    ["a name in other letters", "ID"],
    ["a name with a space", "id "],
    ["an empty name", ""],
  ])("for %s as a column names it", async (_, column) => {
    for (const value of ["x", null, ["x"], { gt: "x" }, Not("x")]) {
      const error = await rejection(
        service.retrieve({ idempotency_key: "alpha", [column]: value }),
      );
      expect(error).toMatchObject({
        type: "invalid_argument",
        message: expect.stringContaining(`"${column}"`),
      });
    }
  });

  test("for __proto__ as a column names it", async () => {
    const selector = JSON.parse('{ "__proto__": "x" }');
    expect((await rejection(service.retrieve(selector))).message).toContain('"__proto__"');
  });

  test.each([
    ["like", { like: "a%" }],
    ["constructor", { constructor: "x" }],
    ["$ne", { $ne: "alpha" }],
    ["nested", { nested: { gt: 1 } }],
    ["unknown", { gt: "a", unknown: "b" }],
  ])("for the operator %s, which is none, names it", async (operator, condition) => {
    expect(await rejection(service.retrieve({ idempotency_key: condition }))).toMatchObject({
      type: "invalid_argument",
      message: expect.stringContaining(`"${operator}"`),
    });
  });

  test.each([[["alpha"]], [[null]], [[{ idempotency_key: "alpha" }, 5]]])(
    "for %j, where a selector is no object, says so",
    async (selector) => {
      expect(await rejection(service.retrieve(selector))).toMatchObject({
        type: "invalid_argument",
        message: expect.stringContaining("selector"),
      });
    },
  );

  test.each([
    ["a number that is none", "22P02", { response_code: "abc" }],
    ["a number that is no integer", "22P02", { response_code: { gt: 1.5 } }],
    ["a number that is too large", "22003", { response_code: [200, 2 ** 40] }],
    ["a time that is none", "22007", { created_at: "yesterday or so" }],
    ["a Date that is none", "22007", { created_at: new Date(NaN) }],
    ["U+0000 in text", "22021", { idempotency_key: "a\0b" }],
    ["U+0000 in a pattern", "22021", { idempotency_key: { contains: "a\0b" } }],
    ["U+0000 in JSON", "22P05", { request_params: { a: "a\0b" } }],
    ["a lone surrogate in JSON", "22P02", { request_params: { a: "\ud800" } }],
    ["a pattern for a number", "42883", { response_code: { contains: "4" } }],
    ["a pattern for a time", "42883", { created_at: Like("2024%") }],
  ])("for %s is the database's %s", async (_, code, selector) => {
    expect(await rejection(service.retrieve(selector))).toMatchObject({
      name: "QueryFailedError",
      code,
    });
    expect((await service.retrieve("alpha")).idempotency_key).toBe("alpha");
  });

  test("for text with a lone surrogate, which no key can have, is not_found", async () => {
    expect((await rejection(service.retrieve("\ud800"))).type).toBe("not_found");
    const error = await rejection(service.retrieve({ idempotency_key: "\ud800" }));
    expect(error.type).toBe("not_found");
  });

  test.each([
    ["a BigInt in JSON", () => ({ request_params: { id: 1n } })],
    [
      "a circle",
      () => {
        const request_params = {};
        request_params.itself = request_params;
        return { request_params };
      },
    ],
  ])("for %s is JSON.stringify's own TypeError", async (_, make) => {
    const selector = make();
    const error = await rejection(service.retrieve(selector));
    expect(error).toBeInstanceOf(TypeError);
    expect(() => JSON.stringify(selector.request_params)).toThrow(error.message);
  });
});

describe("SQL in a selector", () => {
  const INJECTIONS = [
    "'; DROP TABLE idempotency_key; --",
    "' OR '1'='1",
    "') OR 1=1 --",
    'id" IS NOT NULL OR "id',
    "id = id OR id",
    "id) OR (1=1",
    "$1",
    "\\' OR 1=1 --",
    "/* */ DELETE FROM idempotency_key /* */",
  ];

  test.each(INJECTIONS)("as a column name does nothing: %s", async (sql) => {
    const error = await rejection(service.retrieve({ [sql]: "alpha" }));
    expect(error.type).toBe("invalid_argument");
    expect(error.message).toContain(sql);
    await expectAllKeysThere();
  });

  test.each(INJECTIONS)("as a value does nothing: %s", async (sql) => {
    const values = [
      sql,
      [sql],
      { contains: sql },
      { starts_with: sql },
      { ends_with: sql },
      { gte: sql, lte: sql },
      In([sql]),
      Like(sql),
      Any([sql]),
    ];
    for (const value of values) {
      const error = await rejection(service.retrieve({ recovery_point: value }));
      expect(error.type).toBe("not_found");
    }
    expect((await rejection(service.retrieve({ response_body: { x: sql } }))).type).toBe(
      "not_found",
    );
    expect((await rejection(service.retrieve(sql))).type).toBe("not_found");
    expect((await rejection(service.retrieve({ response_code: sql }))).code).toBe("22P02");
    await expectAllKeysThere();
  });

  test.each(INJECTIONS)("as an operator does nothing: %s", async (sql) => {
    const error = await rejection(service.retrieve({ idempotency_key: { [sql]: "alpha" } }));
    expect(error.type).toBe("invalid_argument");
    expect(error.message).toContain(sql);
    await expectAllKeysThere();
  });
});

describe("in a stage", () => {
  test("a selector sees what the stage has done, and nobody else does", async () => {
    await service.create({ idempotency_key: "staged", recovery_point: "unstaged" });
    try {
      await service.workStage("staged", async (manager) => {
        const bound = service.withTransaction(manager);
        await bound.update("staged", { response_code: 299 });
        const { idempotency_key } = await bound.retrieve({ response_code: { gte: 290, lt: 300 } });
        expect(idempotency_key).toBe("staged");
        expect((await rejection(service.retrieve({ response_code: 299 }))).type).toBe("not_found");
        expect((await rejection(bound.retrieve({ response_code: 298 }))).message).toBe(
          "Idempotency key with constraints on response_code was not found",
        );
        return { recovery_point: "staged" };
      });
      expect((await service.retrieve({ recovery_point: "staged" })).response_code).toBe(299);
    } finally {
      await database.pool.query("DELETE FROM idempotency_key WHERE idempotency_key = 'staged'");
    }
  });
});
