"use strict";

/** The recovery point of a request that has its answer. */
const FINISHED = "finished";

module.exports = { FINISHED };
