"use strict";

// Detects that a handler has ended its response. A closed connection does not tell: the client may have gone while
// the handler goes on with its work.

/** The connections that are watched already: many requests share one. */
const watched = new WeakSet();

/**
 * Calls `ended` once a handler has ended its response, even if the connection is gone: it called `end()`, or it
 * destroyed the response, as a stream does when its source fails.
 *
 * @param {import("node:http").ServerResponse} res
 * @param {() => void} ended
 */
function whenEnded(res, ended) {
  if (res.writableEnded) {
    ended();
    return;
  }
  after(res, "end", ended);
  after(res, "destroy", ended);
}

/** Told of every connection that a handler destroys. */
const listeners = new Set();

/**
 * Registers a function that is called with the connection that a handler has destroyed, in the asynchronous context
 * of whoever did it.
 *
 * @param {(socket: object) => void} listener
 */
function onConnectionDestroyed(listener) {
  listeners.add(listener);
}

/**
 * Tells the listeners when a handler destroys the connection of this request, as Express' own error handler does
 * once a response has begun. Node destroys connections too: with an error, or when the client has closed its side.
 *
 * @param {import("node:http").IncomingMessage} req
 */
function watchConnection({ socket, httpVersionMajor }) {
  // With HTTP/2 requests share a connection, which Node does not let handlers destroy.
  if (!socket || httpVersionMajor > 1 || watched.has(socket)) {
    return;
  }
  watched.add(socket);
  const { destroy } = socket;
  socket.destroy = function (...given) {
    const wasOpen = !this.destroyed;
    const result = Reflect.apply(destroy, this, given);
    if (!given[0] && !(wasOpen && this.readableEnded)) {
      listeners.forEach((listener) => listener(this));
    }
    return result;
  };
}

/** Wraps a method so that a function is called after it, unless it throws. */
function after(object, method, then) {
  const original = object[method];
  object[method] = function (...given) {
    const result = Reflect.apply(original, this, given);
    then();
    return result;
  };
}

/** The route of a request as it was declared, if a router has matched one. */
function routeOf({ baseUrl = "", route }) {
  return typeof route?.path === "string" ? baseUrl + route.path : undefined;
}

module.exports = { onConnectionDestroyed, routeOf, watchConnection, whenEnded };
