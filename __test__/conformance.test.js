"use strict";

const { setTimeout: sleep } = require("node:timers/promises");
const { cases, conformance } = require("../lib/conformance");
const { ADAPTERS, tenantOf } = require("./helpers/adapters");
const { LIMIT } = require("./helpers/adapters/routes");
const { useDatabase } = require("./helpers/database");
const { startServer, useServers } = require("./helpers/http-server");

/** Milliseconds: longer than requests that are sent at once are apart. */
const SLOW = 1000;
const TIMEOUT = 60_000;

const database = useDatabase();
const listen = useServers();

beforeAll(async () => {
  await database.service().migrate();
  await database.pool.query("CREATE TABLE effects (name text)");
});

/** Nobody sees a request before the transaction of its first stage commits: it cannot be compared until then. */
const NOT_SEEN = ["in-progress-another-payload"];

describe.each([
  ["captured", "", {}, []],
  ["staged", "staged/", { commitKeyFirst: true }, []],
  ["staged with the key in the first stage", "staged/", {}, NOT_SEEN],
])("%s", (_form, folder, settings, failing) => {
  const reports = new Map();
  const apps = [];

  beforeAll(async () => {
    const all = ADAPTERS.map(async (adapter) => reports.set(adapter, await reportOf(adapter)));
    await Promise.all(all);
  }, TIMEOUT);

  afterAll(() => Promise.all(apps.map((app) => app.stop())));

  async function reportOf(adapter) {
    let effects = 0;
    const work = async (name) => {
      effects += 1;
      await sleep(name === "slow" ? SLOW : 0);
    };
    const start = require(`./helpers/adapters/${adapter}`);
    const service = database.service(settings);
    const options = { scope: tenantOf, maxResponseBytes: LIMIT };
    const [app, strict] = await Promise.all([
      start({ service, work, options }),
      start({ service, work, options: { ...options, required: true } }),
    ]);
    apps.push(app, strict);
    return conformance({
      url: `${app.url}/${folder}json`,
      ...{
        slow: "slow",
        refusing: "refused",
        failing: "broken",
        large: "large",
        elsewhere: "text",
      },
      required: `${strict.url}/${folder}json`,
      optional: true,
      scopes: [{ "X-Tenant": "a" }, { "X-Tenant": "b" }],
      effects: () => effects,
    });
  }

  test.each(ADAPTERS)("%s", (adapter) => {
    const { passed, results } = reports.get(adapter);
    const others = results.filter(
      ({ id, outcome }) => outcome !== "passed" && !failing.includes(id),
    );
    expect(others).toEqual([]);
    expect(passed).toBe(cases.length - failing.length);
  });
});

describe("what does not conform", () => {
  test("fails, with a reason for each case", async () => {
    let effects = 0;
    const url = await listen((_req, res) => {
      effects += 1;
      res.setHeader("Set-Cookie", `session=${effects}`).setHeader("ETag", `"${effects}"`);
      res.end(String(effects));
    });
    const routes = ["slow", "refusing", "failing", "large", "elsewhere", "required"];
    const given = Object.fromEntries(routes.map((name) => [name, `/${name}`]));
    const scopes = [{}, {}];
    const { results } = await conformance({ url, ...given, scopes, effects: () => effects });
    const outcomes = Object.fromEntries(results.map(({ id, outcome }) => [id, outcome]));
    const passed = cases.filter(({ id }) => outcomes[id] === "passed").map(({ id }) => id);
    expect(passed).toEqual(["first-request", "key-of-255-characters", "scopes-do-not-hinder"]);
    const failed = results.filter(({ outcome }) => outcome === "failed");
    expect(failed.filter(({ reason }) => !reason)).toEqual([]);
    expect(outcomes["without-key"]).toBe("skipped");
  });

  test("is not checked without what it needs", async () => {
    const url = await listen((_req, res) => res.end());
    const { results, skipped } = await conformance({ url });
    const [{ reason }] = results.filter(({ id }) => id === "in-progress");
    expect(reason).toBe("the target has no slow");
    expect(skipped).toBe(cases.filter(({ needs }) => needs).length);
  });

  test("cannot be reached", async () => {
    const { url, stop } = await startServer(() => {});
    await stop();
    const { passed, results } = await conformance({ url });
    expect(passed).toBe(0);
    expect(results[0]).toMatchObject({
      outcome: "failed",
      reason: expect.stringContaining(`${url}/ cannot be asked: `),
    });
  });
});

test("every case is described, and its words are known", () => {
  for (const { id, source, level, given, when, then } of cases) {
    expect([id, source, given, when, then].every((text) => text.length > 0)).toBe(true);
    expect(["MUST", "SHOULD", "MAY"]).toContain(level);
  }
  expect(new Set(cases.map(({ id }) => id)).size).toBe(cases.length);
});
