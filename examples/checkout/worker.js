"use strict";

// One try of a request, in a process that kills itself at a given point:
//
//   worker.js <idempotency key> <cart> [<stage> <middle | after>]

const { IdempotencyKeyService } = require("../..");
const { checkout } = require("./checkout");

async function main([key, cartId, ...killPoint]) {
  const service = new IdempotencyKeyService({}, { databaseUrl: process.env.DATABASE_URL });
  const { recovery_point } = await service.retrieve(key);
  await tell({ recoveryPoint: recovery_point });

  const onStage = async (stage, moment) => {
    await tell({ stage, moment });
    if (stage === killPoint[0] && moment === killPoint[1]) {
      await die();
    }
  };
  const { response_code, response_body } = await checkout(service, key, { cartId, onStage });
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
