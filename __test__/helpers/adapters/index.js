"use strict";

const ADAPTERS = [
  "express-4",
  "express-5",
  "fastify",
  "koa",
  "hono",
  "fetch",
  "nest-express",
  "nest-fastify",
];

/** The tenant of a request, whichever framework's it is. */
function tenantOf(request) {
  const { headers } = request.req?.raw ?? request;
  return headers.get?.("x-tenant") ?? headers["x-tenant"] ?? null;
}

module.exports = { ADAPTERS, tenantOf };
