"use strict";

const http = require("node:http");
const { startServer } = require("./http-server");

/**
 * Starts an HTTP proxy in front of a backend through which clients hang up: both connections of a request are
 * cut while the backend is at work on it.
 *
 * @param {string} target the backend's URL
 * @param {(count: number) => Promise<boolean>} hangUp is asked for each request, which is the `count`th; if it
 *   resolves to true before the answer is there, the request is cut
 * @returns {Promise<{ url: string, keys: string[], stop(): Promise<void> }>} `keys`: of what was asked
 */
async function startHangingUpProxy(target, hangUp) {
  const keys = [];
  const { hostname, port } = new URL(target);
  const server = await startServer((request, response) => {
    const { method, url: path, headers } = request;
    keys.push(headers["idempotency-key"]);
    const upstream = http.request({ hostname, port, method, path, headers, agent: false });
    request.pipe(upstream);
    upstream.once("response", (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    const cut = () => {
      upstream.destroy();
      response.destroy();
    };
    upstream.once("error", cut);
    void hangUp(keys.length).then((hangsUp) => hangsUp && cut());
  });
  return { ...server, keys };
}

module.exports = { startHangingUpProxy };
