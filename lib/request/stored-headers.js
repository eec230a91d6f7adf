"use strict";

/** The headers of a key's stored answer, if the table keeps them. */
async function storedHeaders() {
  return undefined;
}

module.exports = { storedHeaders };
