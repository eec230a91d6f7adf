"use strict";

const Koa = require("koa");
const { idempotency, staged } = require("../../../lib/http/koa");
const { startServer } = require("../http-server");
const { BYTES, CHUNKS, JSON_BODY, LARGE, TEXT, stagedOrder, streamOf } = require("./routes");

module.exports = async ({ service, options, work }) => {
  const app = new Koa();
  app.silent = true;
  app.use(parseJson);
  const order = (tx, ctx) => stagedOrder(work, tx, ctx.params, ctx.request.body);
  const orders = staged(service, order, options);
  app.use((ctx, next) => {
    const [, id] = /^\/staged\/(\w+)$/.exec(ctx.path) ?? [];
    ctx.params = { id };
    return id ? orders(ctx) : next();
  });
  app.use(idempotency(service, options));
  app.use(async (ctx) => {
    const name = ctx.path.slice(1);
    await work(name, ctx.request.body);
    ROUTES[name](ctx);
  });
  return startServer(app.callback());
};

async function parseJson(ctx, next) {
  const chunks = await ctx.req.toArray();
  ctx.request.body = JSON.parse(Buffer.concat(chunks).toString() || "{}");
  return next();
}

const ROUTES = {
  json(ctx) {
    ctx.cookies.set("session", "secret");
    ctx.set({ Location: "/json/1", "X-Own": "yes" });
    ctx.status = 201;
    ctx.body = JSON_BODY;
  },
  text: (ctx) => (ctx.body = TEXT),
  slow: (ctx) => (ctx.body = TEXT),
  bytes: (ctx) => (ctx.body = BYTES),
  stream(ctx) {
    ctx.type = "text/plain";
    ctx.body = streamOf(CHUNKS);
  },
  large(ctx) {
    ctx.type = "text/plain";
    ctx.body = streamOf(LARGE);
  },
  empty: (ctx) => (ctx.status = 204),
  redirect(ctx) {
    ctx.redirect("/elsewhere");
    ctx.status = 303;
  },
  "not-modified"(ctx) {
    ctx.set("ETag", '"v1"');
    ctx.status = 304;
  },
  refused(ctx) {
    ctx.status = 400;
    ctx.body = { error: "refused" };
  },
  teapot: (ctx) => ctx.throw(418),
  broken() {
    throw new Error("broken");
  },
  destroyed(ctx) {
    ctx.respond = false;
    ctx.res.destroy();
  },
};
