"use strict";

// Answers of the Fetch standard: kept before anybody reads them.

const { comparedBody, readUpTo } = require("./fetch-bodies");
const { problemOf } = require("./problem");

/**
 * A request as the core reads it.
 *
 * @param {Request} request
 * @param {{ native?: unknown, params?: unknown }} [parsed] what a framework has made of it
 * @returns {import("./request").HttpRequest}
 */
function requestOf(request, { native = request, params } = {}) {
  const { pathname: path, search } = new URL(request.url);
  const { method } = request;
  const headers = Object.fromEntries(request.headers);
  // Read only if the request has a key.
  const body = () => comparedBody(request);
  return { method, path, query: search.slice(1), params, body, headers, native };
}

/**
 * Runs a handler and stores its answer.
 *
 * @param {object} exchange of the request: open()'s
 * @param {number} limit bytes of a body that are held at most
 * @param {() => Promise<Response>} handler
 * @returns {Promise<Response>} what is to be sent
 */
function stored(exchange, limit, handler) {
  return exchange.run(async () => {
    try {
      return await store(exchange, limit, await handler());
    } catch (error) {
      await exchange.release();
      throw error;
    }
  });
}

async function store(exchange, limit, response) {
  // An error of the network's, or another protocol's beginning: no answer.
  if (response.status < 200) {
    await exchange.release();
    return response;
  }
  const reader = response.body?.getReader();
  const { chunks, isWhole } = reader
    ? await readUpTo(reader, limit)
    : { isWhole: true, chunks: [] };
  const { status } = response;
  const headers = headersOf(response);
  const size = chunks.reduce((sum, { length }) => sum + length, 0);
  if (!isWhole || size > limit) {
    const finish = () => exchange.finish({ status, headers, body: null, truncated: true });
    return sameResponse(
      response,
      streamed(chunks, reader, { finish, release: () => exchange.release() }),
    );
  }
  const body = reader ? Buffer.concat(chunks) : null;
  try {
    await exchange.finish({ status, headers, body });
  } catch (error) {
    return responseOf(problemOf(error));
  }
  return sameResponse(response, body);
}

/** A body that was too long to be held: its end waits until the request is finished. */
function streamed(chunks, reader, { finish, release }) {
  const held = [...chunks];
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = held.length > 0 ? { value: held.shift() } : await reader.read();
        if (!done) {
          controller.enqueue(value);
          return;
        }
      } catch (error) {
        // The handler has given up: its request can be tried again.
        await release();
        throw error;
      }
      await finish();
      controller.close();
    },
    // The client has gone.
    async cancel(reason) {
      await Promise.allSettled([finish(), reader.cancel(reason)]);
    },
  });
}

/** @returns {Record<string, string | string[]>} */
function headersOf(response) {
  const headers = Object.fromEntries(response.headers);
  const cookies = response.headers.getSetCookie();
  return cookies.length > 0 ? { ...headers, "set-cookie": cookies } : headers;
}

function sameResponse({ status, statusText, headers }, body) {
  return new Response(body, { status, statusText, headers });
}

/** @param {{ status: number, headers: object, body: Buffer | string | null }} answer */
function responseOf({ status, headers, body }) {
  const pairs = Object.entries(headers).flatMap(([name, value]) =>
    [value].flat().map((one) => [name, one]),
  );
  return new Response(body, { status, headers: pairs });
}

module.exports = { requestOf, responseOf, stored };
