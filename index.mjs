import face from "./index.js";

export const { IdempotencyKeyService, TransactionManager, idempotencyMiddleware } = face;
export default IdempotencyKeyService;
