// From where each is defined: Bun and some bundlers take the `default` of a module that says `__esModule`,
// as index.js does, for what `import face from "./index.js"` asks for.
import errors from "./lib/errors/errors.js";
import requestContext from "./lib/request/request-context.js";
import service from "./lib/service.js";
import transactionManager from "./lib/handles/transaction-manager.js";

export const { isIdempotencyError } = errors;
export const { idempotencyMiddleware } = requestContext;
export const { IdempotencyKeyService, createIdempotency } = service;
export const { TransactionManager } = transactionManager;
export default IdempotencyKeyService;
