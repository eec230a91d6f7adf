"use strict";

/** The same backend runs with Medusa's own service where `IDEMPOTENCY_SERVICE` is "medusa". */
const usesMedusasService = process.env.IDEMPOTENCY_SERVICE === "medusa";

/** All that it takes: the plugin's `idempotencyKeyService` replaces Medusa's. */
const idempotencyKeys = {
  resolve: "medusa-idempotency-key",
  options: JSON.parse(process.env.IDEMPOTENCY_OPTIONS || "{}"),
};

module.exports = {
  projectConfig: {
    database_type: "postgres",
    database_url: process.env.DATABASE_URL,
    // The making of a cart holds one connection while it waits for another: as many at once as there
    // are connections wait for each other, for ever. pg's default is ten, and no time limit.
    database_extra: {
      max: Number(process.env.DATABASE_POOL || 50),
      connectionTimeoutMillis: 20_000,
    },
    // A shop that is open to others has secrets here.
    jwt_secret: process.env.JWT_SECRET || "example",
    cookie_secret: process.env.COOKIE_SECRET || "example",
  },
  plugins: [
    "medusa-payment-manual",
    "medusa-fulfillment-manual",
    ...(usesMedusasService ? [] : [idempotencyKeys]),
  ],
  modules: {
    eventBus: { resolve: "@medusajs/event-bus-local" },
    cacheService: { resolve: "@medusajs/cache-inmemory" },
  },
};
