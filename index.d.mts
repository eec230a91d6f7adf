import { IdempotencyKeyService } from "./index.js";

export * from "./index.js";
export default IdempotencyKeyService;
