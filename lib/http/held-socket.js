"use strict";

// A connection as the handler of a held response sees it. Koa answers nothing to a client that has gone, and
// on-finished (send, Koa, morgan) takes the end of the connection for that of the response: a handler that goes on
// after its client has hung up would never end its response.

/** What tells of the end of a connection. */
const ENDINGS = ["close", "error"];

/** Methods and properties that a held connection has in place of its own. */
class Held {
  writable = true;
  destroyed = false;
  #socket;
  #shown;
  #waiting = [];

  constructor(socket, shown) {
    this.#socket = socket;
    this.#shown = shown;
    for (const name of ["on", "addListener", "once"]) {
      this[name] = (event, listener) => this.#listen(name, event, listener);
    }
    for (const name of ["off", "removeListener"]) {
      this[name] = (event, listener) => this.#forget(event, listener);
    }
  }

  get waiting() {
    return this.#waiting;
  }

  #listen(method, event, listener) {
    if (ENDINGS.includes(event)) {
      this.#waiting.push([event, listener]);
    } else {
      this.#socket[method](event, listener);
    }
    return this.#shown();
  }

  #forget(event, listener) {
    this.#waiting = this.#waiting.filter(([, other]) => other !== listener);
    this.#socket.removeListener(event, listener);
    return this.#shown();
  }
}

/**
 * @param {import("node:net").Socket} socket
 * @returns {{ socket: import("node:net").Socket, release(): void }} the connection as the handler is to see it:
 *   open until it is released, when whoever listens for its end is told, or will be
 */
function heldSocket(socket) {
  let held = new Held(socket, () => shown);
  const shown = new Proxy(socket, {
    get(_, name) {
      if (held && Object.hasOwn(held, name)) {
        return held[name];
      }
      const value = socket[name];
      return typeof value === "function" ? value.bind(socket) : value;
    },
    set: (_, name, value) => Reflect.set(socket, name, value),
  });
  return {
    socket: shown,
    release() {
      const { waiting } = held;
      held = undefined;
      waiting.forEach(([event, listener]) => listenLate(socket, event, listener));
    },
  };
}

function listenLate(socket, event, listener) {
  if (!socket.destroyed) {
    socket.once(event, listener);
  } else if (event === "close") {
    process.nextTick(listener, false);
  }
}

module.exports = { heldSocket };
