"use strict";

/** The most connections that each peer holds. Ours does with fewer than the others. */
const CONNECTIONS = {
  ...{ ours: 4, medusa: 10, pg: 10, pgbench: 64 },
  ...{ boundStages: 10, requests: 10, express: 10 },
};

/** Of the slow disk: how many microseconds longer a flush of the server's log takes. */
const SLOW_DISK = { delay: 4000 };

/** PgBouncer's, with as many connections to the server as the service that is compared has. */
const POOLER = { pool_mode: "transaction", default_pool_size: CONNECTIONS.ours };

module.exports = { CONNECTIONS, POOLER, SLOW_DISK };
