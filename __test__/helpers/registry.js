"use strict";

const http = require("node:http");
const { json } = require("node:stream/consumers");

/**
 * As much of npm's registry as `npm view` and `npm publish` ask for.
 *
 * @returns {Promise<{ url: string, published: string[], tags: object, refuse: Set<string>,
 *   seed(name: string, version: string, integrity: string): void, close(): Promise<void> }>}
 *   `published` has what was published, in that order; what is in `refuse` cannot be
 */
async function startRegistry() {
  const packages = new Map();
  const registry = { published: [], tags: {}, refuse: new Set() };

  const put = (name, { versions, "dist-tags": tags }) => {
    if (registry.refuse.has(name)) {
      return [500, { error: "the registry is not itself today" }];
    }
    const known = packages.get(name) ?? { name, versions: {}, "dist-tags": {} };
    Object.assign(known.versions, versions);
    Object.assign(known["dist-tags"], tags);
    packages.set(name, known);
    registry.published.push(...Object.keys(versions).map((version) => `${name}@${version}`));
    registry.tags[name] = known["dist-tags"];
    return [201, {}];
  };
  const get = (name) =>
    packages.has(name) ? [200, packages.get(name)] : [404, { error: "Not found" }];

  const server = http.createServer(async (req, res) => {
    const name = decodeURIComponent(new URL(req.url, "http://registry").pathname.slice(1));
    const [status, answer] = req.method === "PUT" ? put(name, await json(req)) : get(name);
    res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  /** Has a version there from before. */
  registry.seed = (name, version, integrity) => {
    const versions = { [version]: { name, version, dist: { integrity } } };
    packages.set(name, { name, versions, "dist-tags": { latest: version } });
  };
  registry.url = `http://127.0.0.1:${server.address().port}/`;
  registry.close = () => new Promise((resolve) => server.close(resolve));
  return registry;
}

module.exports = { startRegistry };
