"use strict";

// Two scopes never meet: whatever a client of one sends, it neither sees nor hinders a request of another.

const { randomUUID } = require("node:crypto");
const http = require("node:http");
const net = require("node:net");
const { open } = require("../lib/http/exchange");
const { policyFrom } = require("../lib/http/policy");
const { rejection, useDatabase } = require("./helpers/database");
const { signal } = require("./helpers/flows");

const database = useDatabase();
let service;

beforeAll(() => {
  service = database.service();
});

const asked = (key, scope) => ({ key, method: "POST", path: "/orders", body: { cart: 1 }, scope });
const answering = (body) => () => ({ status: 201, body });

async function storedKeys(part) {
  const { rows } = await database.pool.query(
    "SELECT idempotency_key FROM idempotency_key WHERE position($1 in idempotency_key) > 0",
    [part],
  );
  return rows.map((row) => row.idempotency_key);
}

const SCOPES = ["a", "b", "A", "a ", "ä", "a\u001f", undefined, null];

test("the same request of another scope is a request of its own", async () => {
  const key = randomUUID();
  const scopes = SCOPES.slice(0, -1);
  for (const round of ["first", "again"]) {
    for (const scope of scopes) {
      const answer = await service.handle(asked(key, scope), answering(`of ${scope}`));
      expect(answer).toMatchObject({
        body: `of ${scope}`,
        replayed: round === "again",
        idempotency_key: key,
      });
    }
  }
  // None is one scope, however it is said.
  expect(await service.handle(asked(key, null), answering("x"))).toMatchObject({ replayed: true });
  expect(await storedKeys(key)).toHaveLength(scopes.length);
});

test("all of that also at once, and for the capturing form", async () => {
  const key = randomUUID();
  const policy = policyFrom({});
  const scopes = ["x", "y", undefined];
  const exchanges = await Promise.all(
    scopes.map((scope) => open(service, policy, asked(key, scope))),
  );
  expect(exchanges.map(({ kind }) => kind)).toEqual(["run", "run", "run"]);
  await Promise.all(
    exchanges.map((exchange, n) => exchange.finish({ status: 200, body: `of ${scopes[n]}` })),
  );
  for (const scope of scopes) {
    const { answer } = await open(service, policy, asked(key, scope));
    expect(answer.body).toBe(`of ${scope}`);
  }
});

test("a request in progress in one scope keeps nobody away in another", async () => {
  const key = randomUUID();
  const [begun, end] = [signal(), signal()];
  const first = service.handle(asked(key, "a"), async () => {
    begun.send();
    await end.sent;
    return {};
  });
  await begun.sent;
  expect(await service.handle(asked(key, "b"), answering("b"))).toMatchObject({ status: 201 });
  expect(await service.handle(asked(key, "a"), answering("a"))).toMatchObject({ status: 409 });
  end.send();
  await first;
});

test("another request with the key of another scope is no misuse of the key", async () => {
  const key = randomUUID();
  await service.handle(asked(key, "a"), answering("a"));
  const other = { ...asked(key, "b"), body: { cart: 2 } };
  expect(await service.handle(other, answering("b"))).toMatchObject({ status: 201 });
});

test("a request without a key gets one of its scope", async () => {
  const { idempotency_key: key } = await service.handle(asked(null, "a"), answering("mine"));
  expect(key).toMatch(/^[0-9a-f-]{36}$/);
  expect(await service.handle(asked(key, "a"), answering("x"))).toMatchObject({ body: "mine" });
  expect(await service.handle(asked(key, "b"), answering("x"))).toMatchObject({ replayed: false });
  expect(await service.handle(asked(key), answering("x"))).toMatchObject({ replayed: false });
});

describe("a hostile client that knows how keys are stored", () => {
  let stored;
  let key;

  beforeEach(async () => {
    key = randomUUID();
    await service.handle(asked(key, "victim"), answering("secret"));
    [stored] = await storedKeys(key);
    expect(stored).not.toBe(key);
    expect(stored).not.toContain("victim");
  });

  const ways = {
    "as it is": (text) => text,
    "in quotes": (text) => `"${text}"`,
    "without what is not visible": (text) => text.replaceAll(/[^\x21-\x7e]/g, ""),
    "percent-encoded": encodeURIComponent,
    escaped: (text) => JSON.stringify(text),
  };

  test.each(Object.entries(ways))("gets nothing of it by handle(): %s", async (_, written) => {
    for (const scope of [undefined, "attacker"]) {
      const answer = await service.handle(asked(written(stored), scope), answering("own"));
      expect(answer.replayed).toBe(false);
      expect(answer.body).not.toContain("secret");
    }
  });

  test.each(Object.entries(ways))("nor by a method that takes a header: %s", async (_, written) => {
    const request = { key: written(stored), method: "POST", path: "/orders", body: { cart: 1 } };
    const results = await Promise.allSettled([
      service.initializeRequest(request.key, "POST", null, "/orders"),
      service.begin(request),
      service.runStages(request, { started: () => ({}) }),
    ]);
    const keys = results.map(({ value, reason }) => value ?? reason);
    expect(JSON.stringify(keys)).not.toContain("secret");
    for (const { reason } of results.filter(({ status }) => status === "rejected")) {
      expect(["invalid_idempotency_key", "idempotency_key_in_use"]).toContain(reason.code);
    }
  });

  test("cannot even send it: no HTTP header has the character", async () => {
    const server = http.createServer((req, res) => res.end(req.headers["idempotency-key"]));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const socket = net.connect(server.address().port, "127.0.0.1");
    socket.write(`GET / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: ${stored}\r\n\r\n`);
    let answer = "";
    for await (const chunk of socket) {
      answer += chunk;
      break;
    }
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    await new Promise((resolve) => server.close(resolve));
  });
});

test("what goes wrong shows the client's key, never the scope", async () => {
  const key = randomUUID();
  const policy = policyFrom({});
  const exchange = await open(service, policy, asked(key, "tenant-7"));
  expect(exchange.idempotencyKey).toBe(key);
  const [stored] = await storedKeys(key);
  const [digest] = stored.split("\u001f");
  await database.pool.query("DELETE FROM idempotency_key WHERE idempotency_key = $1", [stored]);
  const error = await rejection(exchange.finish({ status: 200 }));
  expect(error.message).toContain(key);
  for (const secret of [digest, "tenant-7", "\u001f"]) {
    expect(error.message).not.toContain(secret);
  }
});

test("stages' keys for calls to others differ from scope to scope", async () => {
  const key = randomUUID();
  const made = [];
  for (const scope of ["a", "b"]) {
    await service.handle(asked(key, scope), (tx, attempt) => {
      made.push(service.stageKey(attempt.key, "pay"));
      return {};
    });
  }
  expect(made[0]).not.toBe(made[1]);
});

describe("the option", () => {
  const native = { user: "u1" };
  const request = (key) => ({ key, method: "POST", path: "/", native });

  test("gets the adapter's request, and may take its time", async () => {
    const key = randomUUID();
    const seen = [];
    const options = {
      scope: async (given) => {
        seen.push(given);
        return given.user;
      },
    };
    await service.handle(request(key), answering("of u1"), options);
    expect(seen).toEqual([native]);
    expect(await service.handle(asked(key, "u1"), answering("x"))).toMatchObject({ status: 422 });
  });

  test.each([[""], [7], [{}], [["a"]], [true], ["\ud800"]])(
    "refuses what is no scope, before any work: %p",
    async (scope) => {
      const work = jest.fn();
      const error = await rejection(
        service.handle(request(randomUUID()), work, { scope: () => scope }),
      );
      expect(error).toMatchObject({ code: "invalid_option" });
      expect(error.message).toContain("scope has to be a string");
      expect(work).not.toHaveBeenCalled();
    },
  );

  test("that fails, fails the request", async () => {
    const thrown = Object.assign(new Error("no session"), { status: 401 });
    const scope = () => {
      throw thrown;
    };
    const work = jest.fn();
    expect(await rejection(service.handle(request("k"), work, { scope }))).toBe(thrown);
    const policy = policyFrom({ scope });
    expect(await rejection(open(service, policy, request("k")))).toBe(thrown);
    expect(work).not.toHaveBeenCalled();
  });
});

test("requests with credentials and no scope are warned of once", async () => {
  const emitWarning = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
  const send = (headers, options) =>
    service.handle(
      { key: randomUUID(), method: "POST", path: "/", headers },
      answering("x"),
      options,
    );
  await send({ "x-a": "1" });
  await send({ cookie: "a=1" }, { scope: () => null });
  await service.handle({ ...asked(randomUUID(), null), headers: { cookie: "a" } }, answering("x"));
  expect(emitWarning).not.toHaveBeenCalled();
  await send({ authorization: "Bearer secret" });
  await send({ cookie: "a=1" });
  expect(emitWarning).toHaveBeenCalledTimes(1);
  const [message, { code }] = emitWarning.mock.calls[0];
  expect(code).toBe("IDEMPOTENCY_NO_SCOPE");
  expect(message).toMatch(/stored answer.*option scope/);
  expect(message).not.toContain("secret");
  emitWarning.mockRestore();
});
