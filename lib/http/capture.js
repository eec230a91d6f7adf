"use strict";

const { AsyncLocalStorage } = require("node:async_hooks");
const { ServerResponse } = require("node:http");
const { onConnectionDestroyed, watchConnection } = require("../request/responses");
const { HeldResponse } = require("./held-response");
const { answerHeaders, hasBody, sendAnswer, setHeaders } = require("./node-answers");
const { problemOf } = require("./problem");

/** Nothing is sent before the handler has ended its response. */
const HELD = "held";
/** The response was too long to be held: what the handler writes goes to its client. */
const STREAMING = "streaming";
/** The handler has ended its response, which is being stored. */
const STORING = "storing";
/** Everything goes to the client. */
const DONE = "done";

const captures = new AsyncLocalStorage();
onConnectionDestroyed((socket) => captures.getStore()?.abandonOn(socket));

/**
 * Runs a handler and holds back what it answers until that is stored.
 *
 * @param {import("node:http").IncomingMessage} req
 * @param {import("node:http").ServerResponse} res
 * @param {object} options
 * @param {object} options.exchange of the request: open()'s
 * @param {number} options.limit bytes of a body that are held at most
 * @param {object} [options.given] headers that are not on Node's response yet, and not the handler's
 * @param {() => unknown} run the handler
 */
function capture(req, res, options, run) {
  watchConnection(req);
  return captures.run(new Capture(req, res, options), run);
}

/** The answer that a handler gives by the methods of Node's response. */
class Capture {
  #req;
  #res;
  #exchange;
  #limit;
  #held;
  #phase = HELD;
  /** The headers that were there before the handler. */
  #given;
  #chunks = [];
  #size = 0;
  /** Whether the handler wrote before it knew how long the body is. */
  #isStream = false;
  /** Node's methods, or those of middleware that was there before. */
  #own;
  #ended;

  constructor(req, res, { exchange, limit, given }) {
    this.#req = req;
    this.#res = res;
    this.#exchange = exchange;
    this.#limit = limit;
    this.#given = { ...res.getHeaders(), ...given };
    // First: it makes V8 keep the response's properties in a table, to which it costs little to add others. Else each
    // would cost microseconds where a framework has set the response's prototype, as Express does.
    this.#held = new HeldResponse(res);
    this.#intercept(res);
  }

  /** Gives the request up if the connection that its handler has destroyed is its own. */
  abandonOn(socket) {
    if (socket === this.#req.socket) {
      this.#abandon();
    }
  }

  /** Middleware behind this one may have wrapped our methods: they stay, and do what the own ones do when done. */
  #intercept(res) {
    // One by one: V8 remembers where an object has what is named in the source.
    const own = {
      writeHead: res.writeHead.bind(res),
      flushHeaders: res.flushHeaders.bind(res),
      write: res.write.bind(res),
      end: res.end.bind(res),
      destroy: res.destroy.bind(res),
    };
    const isDone = () => this.#phase === DONE;
    this.#own = own;
    res.writeHead = (...given) => (isDone() ? own.writeHead(...given) : this.#writeHead(...given));
    res.flushHeaders = () => (isDone() ? own.flushHeaders() : this.#flushHeaders());
    res.write = (...given) => (isDone() ? own.write(...given) : this.#write(...given));
    res.end = (...given) => (isDone() ? own.end(...given) : this.#end(...given));
    res.destroy = (...given) => (isDone() ? own.destroy(...given) : this.#destroy(...given));
  }

  #writeHead(status, reason, headers) {
    // The own method refuses a second head.
    if (this.#phase !== HELD || this.#held.isHeaded) {
      return this.#own.writeHead(status, reason, headers);
    }
    const hasReason = typeof reason === "string";
    checkStatusLine(status, hasReason ? reason : undefined);
    setHeaders(this.#res, hasReason ? headers : (headers ?? reason));
    this.#res.statusCode = status;
    if (hasReason) {
      this.#res.statusMessage = reason;
    }
    this.#held.begin();
    return this.#res;
  }

  /** As Node writes the head that a handler has not written: middleware listens to writeHead(). */
  #impliedHead() {
    if (!this.#held.isHeaded) {
      this.#res.writeHead(this.#res.statusCode);
    }
  }

  #flushHeaders() {
    if (this.#phase !== HELD) {
      this.#own.flushHeaders();
      return;
    }
    this.#impliedHead();
    this.#isStream = true;
  }

  #write(chunk, encoding, callback) {
    if (this.#phase === STREAMING) {
      return this.#own.write(chunk, encoding, callback);
    }
    if (this.#phase === STORING) {
      return false;
    }
    this.#impliedHead();
    this.#isStream = true;
    this.#add(chunk, encoding);
    const written = typeof encoding === "function" ? encoding : callback;
    if (written) {
      process.nextTick(written);
    }
    return this.#size > this.#limit ? this.#stream() : true;
  }

  #add(chunk, encoding) {
    const bytes = Buffer.from(chunk, typeof encoding === "string" ? encoding : undefined);
    this.#chunks.push(bytes);
    this.#size += bytes.length;
  }

  /** Sends what was held, and lets go. */
  #stream() {
    this.#phase = STREAMING;
    this.#held.release()();
    this.#own.writeHead(this.#res.statusCode);
    // A client that has gone takes nothing more, and its handler may stop then.
    this.#res.once("close", () => this.#finishStream());
    if (this.#res.destroyed) {
      this.#finishStream();
    }
    return this.#own.write(Buffer.concat(this.#chunks.splice(0)));
  }

  #end(chunk, encoding, callback) {
    if (this.#phase === STORING) {
      return this.#res;
    }
    const given = [chunk, encoding, callback];
    this.#ended = given.find((one) => typeof one === "function");
    const isLast = chunk !== undefined && chunk !== null && typeof chunk !== "function";
    if (this.#phase === STREAMING) {
      isLast && this.#own.write(chunk, encoding);
      this.#phase = STORING;
      void this.#endStream();
      return this.#res;
    }
    this.#impliedHead();
    isLast && this.#add(chunk, encoding);
    this.#held.end();
    this.#phase = STORING;
    void this.#settle();
    return this.#res;
  }

  /** Stores the answer, then sends it: or what is to be sent in its place. */
  async #settle() {
    const refusal = await this.#store(this.#answer());
    const tell = this.#held.release();
    this.#phase = DONE;
    this.#attempt(() => (refusal ? this.#replace(refusal) : this.#send()));
    tell();
  }

  /** The end of a response that is under way waits until the request is finished. */
  async #endStream() {
    const refusal = await this.#store(this.#answer());
    this.#phase = DONE;
    this.#attempt(() => (refusal ? this.#own.destroy() : this.#own.end(this.#ended)));
  }

  #finishStream() {
    if (this.#phase === STREAMING) {
      this.#phase = DONE;
      void this.#store(this.#answer());
    }
  }

  #answer() {
    const { statusCode: status } = this.#res;
    const headers = answerHeaders(this.#res, this.#given);
    if (this.#size > this.#limit) {
      return { status, headers, body: null, truncated: true };
    }
    const body = hasBody(this.#req, status) ? Buffer.concat(this.#chunks) : null;
    return { status, headers, body };
  }

  /** @returns what is to be sent in place of an answer that could not be stored, if it was not */
  async #store(answer) {
    try {
      await this.#exchange.finish(answer);
    } catch (error) {
      return problemOf(error);
    }
  }

  #send() {
    // Trailers need a head without a length.
    if (this.#isStream || this.#res.hasHeader("trailer")) {
      this.#own.writeHead(this.#res.statusCode);
    }
    this.#own.end(this.#size > 0 ? Buffer.concat(this.#chunks) : undefined, this.#ended);
  }

  #replace(refusal) {
    this.#res.getHeaderNames().forEach((name) => this.#res.removeHeader(name));
    setHeaders(this.#res, this.#given);
    sendAnswer(this.#res, refusal, this.#own.end);
  }

  /** Nobody is left who could be told of an error. */
  #attempt(send) {
    try {
      send();
    } catch (error) {
      this.#own.destroy(error);
    }
  }

  #destroy(error) {
    this.#abandon();
    return this.#own.destroy(error);
  }

  /** The handler gives up: its request can be tried again. */
  #abandon() {
    if (this.#phase === HELD || this.#phase === STREAMING) {
      this.#phase = DONE;
      const tell = this.#held.release();
      // The lease runs out if it cannot be released.
      this.#exchange.release().catch(() => {});
      tell();
    }
  }
}

/** Throws what Node would throw for such a head, while the handler can still be told. */
function checkStatusLine(status, reason) {
  const isUsual = Number.isInteger(status) && status >= 100 && status <= 999;
  if (!isUsual || reason !== undefined) {
    new ServerResponse({ method: "GET", httpVersionMajor: 1, httpVersionMinor: 1 }).writeHead(
      ...[status, reason].filter((given) => given !== undefined),
    );
  }
}

module.exports = { capture };
