"use strict";

// One try of a request, in a process that kills itself at a given point:
//
//   worker.js <idempotency key> <cart> [<stage> <middle | after>]

const { IdempotencyKeyService } = require("../..");
const { checkout } = require("./checkout");

/**
 * What a killed process held of its request runs out after `leaseTimeout`: its retry waits that
 * long, instead of being told to come back later. Both in milliseconds; the demo is in a hurry.
 */
const LEASE = { leaseTimeout: 200, waitTimeout: 10_000 };

async function main([key, cartId, ...killPoint]) {
  const databaseUrl = process.env.DATABASE_URL;
  const service = new IdempotencyKeyService({}, { databaseUrl, ...LEASE });
  const onBegin = (recoveryPoint) => tell({ recoveryPoint });
  const onStage = async (stage, moment) => {
    await tell({ stage, moment });
    if (stage === killPoint[0] && moment === killPoint[1]) {
      await die();
    }
  };
  const options = { cartId, onBegin, onStage };
  const { response_code, response_body } = await checkout(service, key, options);
  await tell({ answer: { response_code, response_body } });
  await service.close();
}

/** Resolves once the message has left this process, so that a kill cannot swallow it. */
function tell(message) {
  return new Promise((resolve, reject) => {
    process.send(message, (error) => (error ? reject(error) : resolve()));
  });
}

/** Never resolves: whatever awaits it goes no further. */
function die() {
  process.kill(process.pid, "SIGKILL");
  return new Promise(() => {});
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
