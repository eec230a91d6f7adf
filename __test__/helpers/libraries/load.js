"use strict";

const path = require("node:path");
const { pathToFileURL } = require("node:url");

const FOLDERS = path.join(__dirname, "../../libraries");

/**
 * Loads a library of the test's own packages, outside of Jest's modules if Jest runs this.
 *
 * @param {string} name of the package, or a path in it
 * @param {"newest" | "previous"} [folder] in __test__/libraries
 * @returns {Promise<object>} its exports
 */
async function load(name, folder = "newest") {
  const file = pathToFileURL(path.join(FOLDERS, folder, "load.mjs")).href;
  const importByNode = globalThis.importByNode ?? ((url) => import(url));
  const exports = await (await importByNode(file)).load(name);
  // A CommonJS module is the default export; its names cannot all be seen from outside.
  return { ...exports, ...exports.default };
}

module.exports = { load };
