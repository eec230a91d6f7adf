"use strict";

require("reflect-metadata");
const { Body, Controller, HttpCode, HttpException, Module, Post } = require("@nestjs/common");
const { Header, Redirect, Req, Res, StreamableFile } = require("@nestjs/common");
const { NestFactory } = require("@nestjs/core");
const { Idempotent, IdempotencyInterceptor, staged } = require("../../../lib/http/nest");
const { BYTES, CHUNKS, JSON_BODY, LARGE, TEXT, stagedOrder, streamOf } = require("./routes");

/** @returns what starts an application on one of Nest's platforms */
function onNest(platform) {
  return async ({ service, options, work }) => {
    const controller = controllerOf(service, options, work);
    class App {}
    Module({ controllers: [controller] })(App);
    const app = await NestFactory.create(App, platform(), { logger: false });
    app.useGlobalInterceptors(new IdempotencyInterceptor(service, options));
    await app.listen(0, "127.0.0.1");
    return {
      url: await app.getUrl(),
      async stop() {
        app.getHttpServer().closeAllConnections();
        await app.close();
      },
    };
  };
}

function controllerOf(service, options, work) {
  const order = (tx, request) => stagedOrder(work, tx, request.params, request.body);
  const orders = staged(service, order, options);
  class Routes {
    staged(request, response) {
      return orders(request, response);
    }
  }
  decorate(Routes, "staged", [Post("staged/:id"), Idempotent(false)], [Req(), Res()]);
  for (const [name, { decorators = [], answer, parameters = [] }] of Object.entries(ROUTES)) {
    Routes.prototype[name] = async (body, response) => {
      await work(name, body);
      return answer(response);
    };
    decorate(Routes, name, [Post(name), ...decorators], [Body(), ...parameters]);
  }
  Controller()(Routes);
  return Routes;
}

/** As TypeScript compiles the decorators. */
function decorate({ prototype }, name, decorators, parameters) {
  parameters.forEach((decorator, index) => decorator(prototype, name, index));
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name);
  decorators.forEach((decorator) => decorator(prototype, name, descriptor));
}

const PLAIN = Header("Content-Type", "text/plain");

const ROUTES = {
  json: {
    parameters: [Res({ passthrough: true })],
    answer(response) {
      response.header("Set-Cookie", "session=secret");
      response.header("Location", "/json/1").header("X-Own", "yes");
      return JSON_BODY;
    },
  },
  text: { decorators: [HttpCode(200), PLAIN], answer: () => TEXT },
  slow: { decorators: [HttpCode(200), PLAIN], answer: () => TEXT },
  bytes: { decorators: [HttpCode(200)], answer: () => new StreamableFile(BYTES) },
  // Expressly by the platform's own response.
  stream: {
    parameters: [Res()],
    answer(response) {
      if (response.raw) {
        void response.code(200).type("text/plain").send(streamOf(CHUNKS));
      } else {
        streamOf(CHUNKS).pipe(response.status(200).type("text/plain"));
      }
    },
  },
  large: {
    decorators: [HttpCode(200)],
    answer: () => new StreamableFile(streamOf(LARGE), { type: "text/plain" }),
  },
  empty: { decorators: [HttpCode(204)], answer: () => undefined },
  redirect: { decorators: [Redirect("/elsewhere", 303)], answer: () => undefined },
  "not-modified": { decorators: [HttpCode(304), Header("ETag", '"v1"')], answer: () => undefined },
  refused: {
    answer() {
      throw new HttpException({ error: "refused" }, 400);
    },
  },
  teapot: {
    answer() {
      throw new HttpException("teapot", 418);
    },
  },
  broken: {
    answer() {
      throw new Error("broken");
    },
  },
  destroyed: {
    parameters: [Res()],
    answer(response) {
      (response.raw ?? response).destroy();
    },
  },
};

module.exports = { onNest };
