import face from "./medusa.js";

export const { MedusaIdempotencyKeyService } = face;
