"use strict";

const { heldSocket } = require("./held-socket");

/** What stands for the head of a held response: Node's own methods and compression ask for the head itself. */
const HEAD = "held";

/**
 * Lets a response look to its handler as if it were being sent, while nothing is: begun, ended, and with a client
 * that is there, so that the handler comes to its end.
 */
class HeldResponse {
  /** Whether the handler has begun the response, as `headersSent` tells. */
  isHeaded = false;
  #isEnded = false;
  #res;
  /** Whether the response has its state in properties of its own: with HTTP/2 it asks its stream. */
  #hasState;
  #isHeld = true;
  #hasClosed = false;
  #socket;
  #undo;

  /** @param {import("node:http").ServerResponse} res */
  constructor(res) {
    this.#res = res;
    this.#hasState = Object.hasOwn(res, "_header") && Object.hasOwn(res, "finished");
    const socket = shadow(res, "socket", (own) => this.#heldSocket(own));
    this.#undo = [socket, ...(this.#hasState ? [this.#holdState()] : this.#shadowState())];
    this.#holdClose();
  }

  /** Shows that the handler has begun the response. */
  begin() {
    this.isHeaded = true;
    this.#showState();
  }

  /** Shows that the handler has ended the response. */
  end() {
    this.#isEnded = true;
    this.#showState();
  }

  /** Shows the response as it is. @returns {() => void} tells listeners what happened to it meanwhile */
  release() {
    if (!this.#isHeld) {
      return () => {};
    }
    this.#isHeld = false;
    this.#undo.forEach((undo) => undo());
    if (this.#hasClosed) {
      this.#mark(true);
    }
    return () => {
      this.#socket?.release();
      if (this.#hasClosed) {
        this.#res.emit("close");
      }
    };
  }

  /** Node's `headersSent` and `writableEnded` tell what these two properties say. */
  #holdState() {
    const { _header, finished } = this.#res;
    this.#showState();
    return () => Object.assign(this.#res, { _header, finished });
  }

  #showState() {
    if (this.#hasState) {
      this.#res._header = this.isHeaded ? HEAD : null;
      this.#res.finished = this.#isEnded;
    }
  }

  #shadowState() {
    const shown = {
      _header: () => (this.isHeaded ? HEAD : null),
      headersSent: () => this.isHeaded,
      finished: () => this.#isEnded,
      writableEnded: () => this.#isEnded,
    };
    return Object.entries(shown).map(([name, show]) => shadow(this.#res, name, show));
  }

  #heldSocket(socket) {
    if (!socket) {
      return socket;
    }
    this.#socket ??= heldSocket(socket);
    return this.#socket.socket;
  }

  /** The response closes with its connection; streams that are piped into it would stop. */
  #holdClose() {
    const res = this.#res;
    const { emit } = res;
    res.emit = (event, ...given) => {
      if (event !== "close" || !this.#isHeld) {
        return Reflect.apply(emit, res, [event, ...given]);
      }
      this.#hasClosed = true;
      this.#mark(false);
      return true;
    };
  }

  /** As Node marks a response whose connection has closed. */
  #mark(closed) {
    if (Object.hasOwn(this.#res, "_closed")) {
      this.#res.destroyed = closed;
      this.#res._closed = closed;
    }
  }
}

/**
 * Shows another value of a property, while Node may go on to set the property's own.
 *
 * @param {object} object
 * @param {string} name
 * @param {(value: unknown) => unknown} show
 * @returns {() => void} shows the property's own value again
 */
function shadow(object, name, show) {
  const own = Object.getOwnPropertyDescriptor(object, name);
  if (own && "value" in own) {
    let { value } = own;
    const set = (next) => (value = next);
    Object.defineProperty(object, name, { ...PROPERTY, get: () => show(value), set });
    return () => Object.defineProperty(object, name, { ...own, value });
  }
  // HTTP/2's responses have no connection of their own, and no head.
  if (!(name in object) || name === "socket") {
    return () => {};
  }
  Object.defineProperty(object, name, { ...PROPERTY, get: show });
  return () => delete object[name];
}

const PROPERTY = { configurable: true, enumerable: true };

module.exports = { HeldResponse };
