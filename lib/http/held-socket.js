"use strict";

// A connection as the handler of a held response sees it. Koa answers nothing to a client that has gone, and
// on-finished (send, Koa, morgan) takes the end of the connection for that of the response: a handler that goes on
// after its client has hung up would never end its response.

/** What tells of the end of a connection. */
const ENDINGS = ["close", "error"];

/**
 * @param {import("node:net").Socket} socket
 * @returns {{ socket: import("node:net").Socket, release(): void }} the connection as the handler is to see it:
 *   open until it is released, when whoever listens for its end is told, or will be
 */
function heldSocket(socket) {
  let waiting = [];
  const listen = (add) => (event, listener) => {
    if (ENDINGS.includes(event)) {
      waiting.push([event, listener]);
    } else {
      socket[add](event, listener);
    }
    return held;
  };
  const forget = (event, listener) => {
    waiting = waiting.filter(([, other]) => other !== listener);
    socket.removeListener(event, listener);
    return held;
  };
  const open = {
    writable: true,
    destroyed: false,
    on: listen("on"),
    addListener: listen("on"),
    once: listen("once"),
    off: forget,
    removeListener: forget,
  };
  const held = new Proxy(socket, {
    get(_, name) {
      if (waiting && Object.hasOwn(open, name)) {
        return open[name];
      }
      const value = socket[name];
      return typeof value === "function" ? value.bind(socket) : value;
    },
    set: (_, name, value) => Reflect.set(socket, name, value),
  });
  return {
    socket: held,
    release() {
      const listeners = waiting;
      waiting = undefined;
      for (const [event, listener] of listeners) {
        listenLate(socket, event, listener);
      }
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
