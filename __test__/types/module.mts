import Service, {
  IdempotencyKeyService,
  createIdempotency,
  idempotencyMiddleware,
  isIdempotencyError,
  type IdempotencyKey,
} from "../../index.mjs";

const service: IdempotencyKeyService = new Service({}, { databaseUrl: "postgres://db/shop" });
const key: Promise<IdempotencyKey> = service.create({});
void [key, idempotencyMiddleware(), createIdempotency({ mode: "medusa" }), isIdempotencyError(key)];
