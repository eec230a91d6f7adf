import pg from "pg";
import { createIdempotency } from "medusa-idempotency-key";

export const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
export const service = createIdempotency({ databaseUrl: process.env.DATABASE_URL });
