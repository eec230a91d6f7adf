"use strict";

// An Express app in a process of its own: one route that inserts a row, in one of the forms of forms.js.

const { once } = require("node:events");
const express = require("express");
const { FORMS } = require("./forms");

/** @param {string[]} given the form's name, and the database's URL */
async function main([form, url]) {
  const { handlers, close } = FORMS[form](url);
  const app = express();
  app.use(express.json());
  app.post("/orders", ...handlers);
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.on("message", () => process.send(process.cpuUsage()));
  process.once("disconnect", async () => {
    server.close();
    server.closeAllConnections();
    await close();
  });
  process.send({ port: server.address().port });
}

void main(process.argv.slice(2));
