import face from "./index.js";

export const { IdempotencyKeyService, TransactionManager } = face;
export default IdempotencyKeyService;
