// The same from an ES module, where the compiler knows of both kinds.

import Service, { IdempotencyKeyService, createIdempotency } from "medusa-idempotency-key";
import { MedusaIdempotencyKeyService } from "medusa-idempotency-key/medusa";

const services: IdempotencyKeyService[] = [new Service({}), createIdempotency()];
const medusas: typeof MedusaIdempotencyKeyService = MedusaIdempotencyKeyService;
export { medusas, services };
