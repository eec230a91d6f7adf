"use strict";

const { createAdaptorServer } = require("@hono/node-server");
const { idempotency, staged } = require("../../../lib/http/fetch");
const { listen } = require("../http-server");
const { BYTES, CHUNKS, JSON_BODY, LARGE, TEXT, stagedOrder, webStreamOf } = require("./routes");

/** A handler of the Fetch standard, on a server that takes one. */
module.exports = async ({ service, options, work }) => {
  const order = async (tx, request) => {
    const id = request.url.split("/").pop();
    return stagedOrder(work, tx, { id }, await request.json());
  };
  const orders = staged(service, order, options);
  const handler = idempotency(
    service,
    options,
  )(async (request) => {
    const name = new URL(request.url).pathname.slice(1);
    await work(name, await request.json());
    return ROUTES[name](request);
  });
  const answer = (request) => (request.url.includes("/staged/") ? orders : handler)(request);
  const asFramework = (request) =>
    answer(request).catch(() => new Response("failed", { status: 500 }));
  return listen(createAdaptorServer({ fetch: asFramework }));
};

const typed = (type) => ({ headers: { "Content-Type": type } });

const ROUTES = {
  json() {
    const headers = { "Set-Cookie": "session=secret", Location: "/json/1", "X-Own": "yes" };
    return Response.json(JSON_BODY, { status: 201, headers });
  },
  text: () => new Response(TEXT),
  slow: () => new Response(TEXT),
  bytes: () => new Response(BYTES, typed("application/octet-stream")),
  stream: () => new Response(webStreamOf(CHUNKS), typed("text/plain")),
  large: () => new Response(webStreamOf(LARGE), typed("text/plain")),
  empty: () => new Response(null, { status: 204 }),
  redirect: ({ url }) =>
    new Response(null, {
      ...Response.redirect(new URL("/x", url), 303),
      status: 303,
      headers: { Location: "/elsewhere" },
    }),
  "not-modified": () => new Response(null, { status: 304, headers: { ETag: '"v1"' } }),
  refused: () => Response.json({ error: "refused" }, { status: 400 }),
  teapot: () => new Response("teapot", { status: 418 }),
  broken() {
    throw new Error("broken");
  },
};
