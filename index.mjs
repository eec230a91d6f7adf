import face from "./index.js";

export const {
  IdempotencyKeyService,
  TransactionManager,
  createIdempotency,
  idempotencyMiddleware,
  isIdempotencyError,
} = face;
export default IdempotencyKeyService;
