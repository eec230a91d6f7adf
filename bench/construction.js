"use strict";

// Medusa resolves the service anew for every request: what that takes before its first call.

const { IdempotencyKeyService } = require("..");
const { measureSync } = require("./measure");
const { awilix } = require("./peers/medusa-v1");

/** About as many as Medusa registers: a look at all of them should show. */
const REGISTRATIONS = 300;
const CALLS = 20_000;
const WARM_UP = 2_000;

/** @returns {{ constructed: number, resolved: number }} p50, microseconds */
function measureConstruction() {
  const options = {};
  const registered = containerWith(options);
  const container = { manager: {}, configModule: {} };
  const of = (input, call) => {
    measureSync({ input, call, calls: WARM_UP });
    return measureSync({ input, call, calls: CALLS }).p50;
  };
  return {
    constructed: of(
      () => container,
      (given) => new IdempotencyKeyService(given, options),
    ),
    resolved: of(
      () => registered.createScope(),
      (scope) => scope.resolve("idempotencyKeyService"),
    ),
  };
}

/** Registers it as Medusa registers the service of a plugin. */
function containerWith(options) {
  const { asFunction, asValue, createContainer, Lifetime } = awilix;
  const container = createContainer();
  for (let number = 0; number < REGISTRATIONS; number += 1) {
    container.register(
      `service${number}`,
      asFunction(() => ({})),
    );
  }
  container.register({
    manager: asValue({}),
    configModule: asValue({ projectConfig: {} }),
    idempotencyKeyService: asFunction((cradle) => new IdempotencyKeyService(cradle, options), {
      lifetime: Lifetime.SCOPED,
    }),
  });
  return container;
}

module.exports = { measureConstruction };
