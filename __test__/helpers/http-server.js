"use strict";

const http = require("node:http");

/** Starts a server on a free port of 127.0.0.1 and answers its URL, and how it is stopped. */
function startServer(handler) {
  return listen(http.createServer(handler));
}

/** The same for a server that is there. */
async function listen(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Has the servers of a file stopped after each test; answers what starts one, and resolves to its URL. */
function useServers() {
  const servers = new Set();

  afterEach(async () => {
    await Promise.all([...servers].map((server) => server.stop()));
    servers.clear();
  });

  return async (handler) => {
    const server = await startServer(handler);
    servers.add(server);
    return server.url;
  };
}

module.exports = { listen, startServer, useServers };
