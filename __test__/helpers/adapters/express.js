"use strict";

const { idempotency, staged } = require("../../../lib/http/express");
const { startServer } = require("../http-server");
const { BYTES, CHUNKS, JSON_BODY, LARGE, TEXT, stagedOrder, streamOf } = require("./routes");

/** @returns what starts an application on a version of Express */
function onExpress(express) {
  return async ({ service, options, work }) => {
    const app = express();
    // Silent, as its own error handler is in tests.
    app.set("env", "test");
    app.use(express.json());
    app.post(
      "/staged/:id",
      staged(service, (tx, req) => stagedOrder(work, tx, req.params, req.body), options),
    );
    app.use(idempotency(service, options));
    for (const [name, answer] of Object.entries(ROUTES)) {
      app.post(`/${name}`, (req, res, next) => {
        work(name, req.body)
          .then(() => answer(res), next)
          .catch(next);
      });
    }
    return startServer(app);
  };
}

const ROUTES = {
  json(res) {
    res.cookie("session", "secret").location("/json/1").set("X-Own", "yes");
    res.status(201).json(JSON_BODY);
  },
  text: (res) => res.type("text/plain").send(TEXT),
  slow: (res) => res.type("text/plain").send(TEXT),
  bytes: (res) => res.send(BYTES),
  stream: (res) => streamOf(CHUNKS).pipe(res.type("text/plain")),
  large: (res) => streamOf(LARGE).pipe(res.type("text/plain")),
  empty: (res) => res.status(204).end(),
  redirect: (res) => res.redirect(303, "/elsewhere"),
  "not-modified": (res) => res.set("ETag", '"v1"').status(304).end(),
  refused: (res) => res.status(400).json({ error: "refused" }),
  teapot() {
    throw Object.assign(new Error("teapot"), { status: 418 });
  },
  broken() {
    throw new Error("broken");
  },
  destroyed: (res) => res.destroy(),
};

module.exports = { onExpress };
