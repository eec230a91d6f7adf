"use strict";

const fastify = require("fastify");
const { idempotency, staged } = require("../../../lib/http/fastify");
const { BYTES, CHUNKS, JSON_BODY, LARGE, TEXT, stagedOrder, streamOf } = require("./routes");

module.exports = async ({ service, options, work }) => {
  const app = fastify();
  app.post(
    "/staged/:id",
    staged(service, (tx, request) => stagedOrder(work, tx, request.params, request.body), options),
  );
  app.register(async (scope) => {
    await scope.register(idempotency, { service, ...options });
    for (const [name, answer] of Object.entries(ROUTES)) {
      scope.post(`/${name}`, async (request, reply) => {
        await work(name, request.body);
        return answer(reply);
      });
    }
  });
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  return {
    url,
    async stop() {
      app.server.closeAllConnections();
      await app.close();
    },
  };
};

const ROUTES = {
  json: (reply) =>
    reply
      .code(201)
      .headers({ "Set-Cookie": "session=secret", Location: "/json/1", "X-Own": "yes" })
      .send(JSON_BODY),
  text: (reply) => reply.send(TEXT),
  slow: (reply) => reply.send(TEXT),
  bytes: (reply) => reply.send(BYTES),
  stream: (reply) => reply.type("text/plain").send(streamOf(CHUNKS)),
  large: (reply) => reply.type("text/plain").send(streamOf(LARGE)),
  empty: (reply) => reply.code(204).send(),
  redirect: (reply) => reply.redirect("/elsewhere", 303),
  "not-modified": (reply) => reply.header("ETag", '"v1"').code(304).send(),
  refused: (reply) => reply.code(400).send({ error: "refused" }),
  teapot() {
    throw Object.assign(new Error("teapot"), { statusCode: 418 });
  },
  broken() {
    throw new Error("broken");
  },
  destroyed(reply) {
    reply.hijack();
    reply.raw.destroy();
  },
};
