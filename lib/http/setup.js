"use strict";

const { medusaError } = require("../errors/errors");
const { shown } = require("../values/shown");
const { EXCHANGE } = require("./exchange");
const { policyFrom } = require("./policy");

/**
 * Checks what an adapter is set up with, before any request comes.
 *
 * @param {unknown} service
 * @param {object} [options]
 * @param {object} [form] as policyFrom() takes it
 * @returns the policy
 */
function policyFor(service, options, form) {
  if (typeof service?.[EXCHANGE] !== "function") {
    throw medusaError(
      "invalid_argument",
      `medusa-idempotency-key: service has to be an IdempotencyKeyService, not ${shown(service)}`,
    );
  }
  return policyFrom(options, form);
}

module.exports = { policyFor };
