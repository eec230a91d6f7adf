"use strict";

/** The most connections that each peer holds. Ours does with fewer than the others. */
const CONNECTIONS = { ours: 4, medusa: 10, pg: 10, pgbench: 64, boundStages: 10 };

/** Of a slow disk: a flush of the log waits so many microseconds for others, and always does. */
const SLOW_DISK = { commit_delay: 4000, commit_siblings: 0 };

module.exports = { CONNECTIONS, SLOW_DISK };
