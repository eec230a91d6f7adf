"use strict";

const { Hono } = require("hono");
const { HTTPException } = require("hono/http-exception");
const { createAdaptorServer } = require("@hono/node-server");
const { idempotency, staged } = require("../../../lib/http/hono");
const { listen } = require("../http-server");
const { BYTES, CHUNKS, JSON_BODY, LARGE, TEXT, stagedOrder, webStreamOf } = require("./routes");

module.exports = async ({ service, options, work }) => {
  const app = new Hono();
  app.onError((error, c) =>
    error instanceof HTTPException ? error.getResponse() : c.text("failed", 500),
  );
  const order = async (tx, c) => stagedOrder(work, tx, c.req.param(), await c.req.json());
  app.post("/staged/:id", staged(service, order, options));
  app.use(idempotency(service, options));
  for (const [name, answer] of Object.entries(ROUTES)) {
    app.post(`/${name}`, async (c) => {
      await work(name, await c.req.json());
      return answer(c);
    });
  }
  return listen(createAdaptorServer({ fetch: app.fetch }));
};

const ROUTES = {
  json(c) {
    c.header("Set-Cookie", "session=secret");
    return c.json(JSON_BODY, 201, { Location: "/json/1", "X-Own": "yes" });
  },
  text: (c) => c.text(TEXT),
  slow: (c) => c.text(TEXT),
  bytes: (c) => c.body(BYTES, 200, { "Content-Type": "application/octet-stream" }),
  stream: (c) => c.body(webStreamOf(CHUNKS), 200, { "Content-Type": "text/plain" }),
  large: (c) => c.body(webStreamOf(LARGE), 200, { "Content-Type": "text/plain" }),
  empty: (c) => c.body(null, 204),
  redirect: (c) => c.redirect("/elsewhere", 303),
  "not-modified": (c) => c.body(null, 304, { ETag: '"v1"' }),
  refused: (c) => c.json({ error: "refused" }, 400),
  teapot() {
    throw new HTTPException(418);
  },
  broken() {
    throw new Error("broken");
  },
};
