"use strict";

// When a handler has ended its response. That a connection closes says nothing of it: the client has gone, and
// the handler goes on with its work.

/** The connections that are watched: each has many requests. */
const watched = new WeakSet();

/**
 * Calls back once a handler has ended its response, also on a connection that is gone: it called `end()`, or it
 * broke the response off, as a stream does whose source fails.
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

/**
 * Calls back when the code of a handler destroys its connection, as Express' own error handler does with an
 * answer that has begun. Node destroys connections too: with an error, or when the client has closed its side.
 *
 * @param {import("node:http").IncomingMessage} req
 * @param {(socket: object) => void} destroyed called in the asynchronous context of whoever did it
 */
function whenDestroyed({ socket, httpVersionMajor }, destroyed) {
  // HTTP/2 lets nobody touch the connection that its requests share.
  if (!socket || httpVersionMajor > 1 || watched.has(socket)) {
    return;
  }
  watched.add(socket);
  const { destroy } = socket;
  socket.destroy = function (...given) {
    const wasOpen = !this.destroyed;
    const result = Reflect.apply(destroy, this, given);
    if (!given[0] && !(wasOpen && this.readableEnded)) {
      destroyed(this);
    }
    return result;
  };
}

/** Has a function called after a method, unless that throws. */
function after(object, method, then) {
  const original = object[method];
  object[method] = function (...given) {
    const result = Reflect.apply(original, this, given);
    then();
    return result;
  };
}

/** The route of a request as it was declared, where a router has found one. */
function routeOf({ baseUrl = "", route }) {
  return typeof route?.path === "string" ? baseUrl + route.path : undefined;
}

module.exports = { routeOf, whenDestroyed, whenEnded };
