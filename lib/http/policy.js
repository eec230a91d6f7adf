"use strict";

const { medusaError } = require("../errors/errors");
const { shown } = require("../values/shown");
const { nearest } = require("../values/spelling");

// How requests are told apart and which answers are kept: the options of `handle()` and of the adapters.

/** In base64 it is still shorter than the longest string in jsonb. */
const MOST_BYTES = 2 ** 26;
const ON_UNAVAILABLE = ["refuse", "run"];

/** Each throws for a wrong value, and may return the value in another form. */
const CHECKS = {
  required: boolean,
  methods,
  header: headerName,
  scope: functionOf,
  fingerprint,
  keep: functionOf,
  replayedHeader: (name, value) => (value === false ? undefined : headerName(name, value)),
  keyFrom: functionOf,
  query: boolean,
  maxResponseBytes: bytes,
  onUnavailable: oneOf(ON_UNAVAILABLE),
};

const DEFAULTS = {
  required: false,
  methods: ["POST", "PATCH"],
  header: "idempotency-key",
  scope: undefined,
  fingerprint: undefined,
  replayedHeader: "idempotent-replayed",
  keyFrom: undefined,
  query: true,
  maxResponseBytes: 2 ** 20,
  onUnavailable: "refuse",
};

/** Answers of requests that were not done: their retry may be. */
const NOT_DONE = [409, 425, 429];

/** The defaults of the capturing form: a failure of the server's is not kept, its request is tried again. */
const CAPTURING = {
  ...DEFAULTS,
  keep: (status) => status >= 200 && status < 500 && !NOT_DONE.includes(status),
};

/** The defaults of the staged form: what a stage has finished with is meant so; one that fails throws. */
const STAGED = { ...DEFAULTS, keep: () => true };

/** What policyFrom() has returned, and by the options that it was made of. */
const policies = new WeakSet();
const made = new WeakMap([CAPTURING, STAGED].map((defaults) => [defaults, new WeakMap()]));

/**
 * Reads and checks options; what this has returned is returned as it is.
 *
 * @param {object} [options]
 * @param {{ defaults?: typeof CAPTURING }} [form]
 * @returns {typeof CAPTURING}
 */
function policyFrom(options, { defaults = CAPTURING } = {}) {
  if (policies.has(options)) {
    return options;
  }
  const given = options ?? defaults;
  if (typeof given !== "object" || Array.isArray(given)) {
    throw invalid(`the options have to be an object, not ${shown(given)}`);
  }
  const ofForm = made.get(defaults);
  if (!ofForm.has(given)) {
    const policy = Object.freeze({ ...defaults, ...(given === defaults ? {} : checked(given)) });
    policies.add(policy);
    ofForm.set(given, policy);
  }
  return ofForm.get(given);
}

function checked(options) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [name, check(name, value)]));
}

function check(name, value) {
  if (!Object.hasOwn(CHECKS, name)) {
    const names = Object.keys(CHECKS);
    const meant = nearest(name, names);
    const help = meant ? `did you mean ${meant}?` : `there are ${names.join(", ")}`;
    throw invalid(`there is no option ${JSON.stringify(name)}; ${help}`);
  }
  return CHECKS[name](name, value);
}

function boolean(name, value) {
  if (typeof value !== "boolean") {
    throw invalid(`${name} has to be true or false, not ${shown(value)}`);
  }
  return value;
}

function functionOf(name, value) {
  if (typeof value !== "function") {
    throw invalid(`${name} has to be a function, not ${shown(value)}`);
  }
  return value;
}

function methods(name, value) {
  const isList = Array.isArray(value) && value.every((method) => /^[a-z]+$/i.test(method));
  if (!isList) {
    throw invalid(`${name} has to be an array of HTTP methods, such as ["POST"]`);
  }
  return value.map((method) => method.toUpperCase());
}

function headerName(name, value) {
  if (typeof value !== "string" || !/^[\w!#$%&'*+.^`|~-]+$/.test(value)) {
    throw invalid(`${name} has to be the name of a header, not ${shown(value)}`);
  }
  return value.toLowerCase();
}

/** @returns {(request: object) => unknown} what of a request is compared in place of its body */
function fingerprint(name, value) {
  if (typeof value === "function") {
    return (request) => value(request.native ?? request);
  }
  const omit = value?.omit;
  const isPaths = Array.isArray(omit) && omit.every((path) => typeof path === "string" && path);
  if (!isPaths || Object.keys(value).length > 1) {
    throw invalid(`${name} has to be a function, or { omit: ["path.in.the.body"] }`);
  }
  const paths = omit.map((path) => path.split("."));
  return ({ body }) => paths.reduce(without, body);
}

/** A copy of a value without what a path leads to. Arrays are copied, too: a path may have an index. */
function without(value, [name, ...rest]) {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) {
    return value;
  }
  const copy = Array.isArray(value) ? [...value] : { ...value };
  if (rest.length === 0) {
    delete copy[name];
  } else {
    copy[name] = without(value[name], rest);
  }
  return copy;
}

function bytes(name, value) {
  if (!Number.isInteger(value) || value < 0 || value > MOST_BYTES) {
    throw invalid(`${name} has to be an integer from 0 to ${MOST_BYTES}, not ${shown(value)}`);
  }
  return value;
}

function oneOf(values) {
  return (name, value) => {
    if (!values.includes(value)) {
      throw invalid(`${name} has to be one of ${values.join(", ")}, not ${shown(value)}`);
    }
    return value;
  };
}

function invalid(message) {
  return medusaError("invalid_argument", `medusa-idempotency-key: ${message}`, "invalid_option");
}

module.exports = { CAPTURING, STAGED, policyFrom };
