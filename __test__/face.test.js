"use strict";

const { execFileSync } = require("node:child_process");
const path = require("node:path");
const { IdempotencyKeyService, createIdempotency, isIdempotencyError } = require("..");
const { MedusaIdempotencyKeyService } = require("../medusa");
const { rejection, useDatabase } = require("./helpers/database");

const database = useDatabase();
let service;

beforeAll(() => {
  service = database.service();
});

function node(args) {
  return execFileSync(process.execPath, args, {
    cwd: path.join(__dirname, ".."),
    encoding: "utf8",
  });
}

describe("createIdempotency", () => {
  test("makes a service with the options", async () => {
    const made = database.closed(createIdempotency({ databaseUrl: database.url }));
    expect(made).toBeInstanceOf(IdempotencyKeyService);
    expect(await made.create({})).toMatchObject({ recovery_point: "started" });
  });

  test("refuses what the constructor refuses", () => {
    for (const options of [
      { leaseTimout: 1 },
      { mode: "at-most-once" },
      "postgres://db/shop",
      [],
    ]) {
      expect(() => createIdempotency(options)).toThrow(
        expect.objectContaining({ type: "invalid_argument", code: "invalid_option" }),
      );
    }
  });
});

describe("isIdempotencyError", () => {
  const notFound = () => rejection(service.retrieve("unknown"));

  test.each([
    ["a MedusaError", undefined, notFound],
    ["one with a code", "invalid_manager", () => rejection(service.withTransaction({}).create({}))],
    [
      "what the database has refused",
      "23505",
      async () => {
        await service.create({ idempotency_key: "twice" });
        return rejection(service.create({ idempotency_key: "twice" }));
      },
    ],
    [
      "what the database has refused to a stage's own statement",
      "42601",
      () => rejection(service.atomicPhase_((manager) => manager.query("SELEC"))),
    ],
    [
      "a connection that cannot be had",
      "ECONNREFUSED",
      () => {
        const lost = database.service({ databaseUrl: "postgres://127.0.0.1:1/none" });
        return rejection(lost.create({}));
      },
    ],
    [
      "a selector that fits several keys",
      undefined,
      async () => {
        await Promise.all([1, 2].map(() => service.create({ request_path: "/same" })));
        return rejection(service.retrieve({ request_path: "/same" }));
      },
    ],
  ])("is true of %s", async (_, code, fail) => {
    const error = await fail();
    expect(isIdempotencyError(error)).toBe(true);
    expect(isIdempotencyError(error, code)).toBe(true);
    expect(isIdempotencyError(error, "another_code")).toBe(false);
  });

  test("is true of an error of another copy of the package", async () => {
    let copy;
    jest.isolateModules(() => (copy = require("..")));
    expect(copy.isIdempotencyError).not.toBe(isIdempotencyError);
    expect(copy.isIdempotencyError(await notFound())).toBe(true);
  });

  test.each([
    ["nothing", () => undefined],
    ["null", () => null],
    ["text", () => "idempotency_key_in_use"],
    ["an Error with a code of ours", () => Object.assign(new Error(), { code: "lease_lost" })],
    ["a copy of an error of ours", async () => ({ ...(await notFound()) })],
    ["what inherits from one", async () => Object.create(await notFound())],
    [
      "what a callback has thrown",
      () => rejection(service.atomicPhase_(() => Promise.reject(new Error("mine")))),
    ],
    [
      "what cannot be looked at",
      () =>
        new Proxy(
          {},
          {
            getOwnPropertyDescriptor() {
              throw new Error("no");
            },
          },
        ),
    ],
  ])("is false of %s", async (_, value) => {
    expect(isIdempotencyError(await value())).toBe(false);
  });

  test("shows nothing of itself on an error", async () => {
    const error = await notFound();
    expect(Object.getOwnPropertySymbols({ ...error })).toEqual([]);
  });
});

test("medusa-idempotency-key/medusa is the same class under another type", () => {
  expect(MedusaIdempotencyKeyService).toBe(IdempotencyKeyService);
  const script = `
    import { MedusaIdempotencyKeyService as Medusas } from "medusa-idempotency-key/medusa";
    import * as face from "medusa-idempotency-key";
    console.log(Medusas === face.IdempotencyKeyService, Object.keys(face).sort().join());`;
  expect(node(["--input-type=module", "-e", script])).toBe(
    "true IdempotencyKeyService,TransactionManager,createIdempotency,default,idempotencyMiddleware," +
      "isIdempotencyError\n",
  );
});
