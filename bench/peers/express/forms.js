"use strict";

// The same route with its keys kept in different ways. Each app has as many connections to the server as the others.

const { Pool } = require("pg");
const { IdempotencyKeyService } = require("../../..");
const { idempotency, staged } = require("../../../lib/http/express");
const { CONNECTIONS } = require("../../settings");
const expressIdempotency = require("./express-idempotency");
const nodeIdempotency = require("./node-idempotency");

const INSERT = "INSERT INTO orders (item) VALUES ($1) RETURNING id";

/** For single statements, which share them: the other connections are the handler's. */
const OURS = 4;

/** By the app's name: a function of the database's URL that returns the route's handlers. */
const FORMS = {
  bare,
  capturing,
  staged: inTransaction,
  nodeIdempotency: withCore,
  expressIdempotency: withMiddleware,
};

function bare(url) {
  const pool = poolOn(url);
  return { handlers: [insertingOn(pool)], close: () => pool.end() };
}

function capturing(url) {
  const pool = poolOn(url, CONNECTIONS.express - OURS);
  const service = serviceOn(url, OURS);
  const close = () => Promise.all([service.close(), pool.end()]);
  return { handlers: [idempotency(service), insertingOn(pool)], close };
}

function inTransaction(url) {
  const service = serviceOn(url, CONNECTIONS.express);
  const work = async (tx, req) => {
    const [order] = await tx.query(INSERT, [req.body.item]);
    return { status: 201, body: order };
  };
  return { handlers: [staged(service, work)], close: () => service.close() };
}

function withCore(url) {
  const pool = poolOn(url);
  const handlers = [nodeIdempotency.middleware(pool), insertingOn(pool)];
  return { handlers, close: () => pool.end() };
}

function withMiddleware(url) {
  const pool = poolOn(url);
  const handlers = [expressIdempotency.middleware(pool), unlessHit(insertingOn(pool))];
  return { handlers, close: () => pool.end() };
}

/** Its middleware calls the handler of a replay, too. */
function unlessHit(handler) {
  return (req, res) => (expressIdempotency.isHit(req) ? undefined : handler(req, res));
}

function insertingOn(pool) {
  return async (req, res) => {
    const { rows } = await pool.query({ name: "order", text: INSERT, values: [req.body.item] });
    res.status(201).json(rows[0]);
  };
}

function poolOn(url, connections = CONNECTIONS.express) {
  const pool = new Pool({ connectionString: url, max: connections });
  pool.on("error", () => {});
  return pool;
}

function serviceOn(url, connections) {
  // One connection more is kept for single statements.
  return new IdempotencyKeyService({}, { databaseUrl: url, maxConnections: connections - 1 });
}

module.exports = { FORMS };
