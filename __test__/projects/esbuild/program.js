import { createIdempotency } from "medusa-idempotency-key";

async function main() {
  const service = createIdempotency({ databaseUrl: process.env.DATABASE_URL });
  await service.migrate();
  const { idempotency_key: key } = await service.create({});
  const { recovery_point: point } = await service.retrieve(key);
  if (point !== "started") {
    throw new Error(`the key is ${point}`);
  }
  console.log("works in a bundle");
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
