import type { IdempotencyKeyService as MedusasService } from "@medusajs/medusa";
import type { IdempotencyKeyOptions, IdempotencyKeyService, MedusaConfigModule } from "./index";

type EntityManager = NonNullable<Parameters<MedusasService["withTransaction"]>[0]>;
type Ours = IdempotencyKeyService<EntityManager>;

// Else everything here is exported, whether it says so or not.
export {};

/**
 * The type of the service for code that declares Medusa v1's own class. Medusa's class has protected members, so
 * TypeScript accepts no other class in its place, whatever its methods are. This type is assignable to both.
 *
 * @example
 * import type { IdempotencyKeyService } from "@medusajs/medusa";
 * import type { MedusaIdempotencyKeyService } from "medusa-idempotency-key/medusa";
 *
 * const ours: MedusaIdempotencyKeyService = req.scope.resolve("idempotencyKeyService");
 * const declared: IdempotencyKeyService = ours;
 */
export type MedusaIdempotencyKeyService = MedusasService &
  Omit<Ours, "withTransaction" | "shouldRetryTransaction_">;

/**
 * The same class as `IdempotencyKeyService`, typed as a subclass of Medusa's, to construct or extend.
 *
 * @example
 * class MyKeys extends MedusaIdempotencyKeyService {
 *   createPair() {
 *     return this.atomicPhase_(async (manager) => {
 *       const bound = this.withTransaction(manager);
 *       return [await bound.create({}), await bound.create({})];
 *     });
 *   }
 * }
 */
export declare const MedusaIdempotencyKeyService: {
  /** The lifetime with which awilix, and so Medusa, registers the service. Set it in a subclass. */
  LIFE_TIME?: "SINGLETON" | "SCOPED" | "TRANSIENT";
  new (
    container: Record<string, any>,
    options?: IdempotencyKeyOptions | MedusaConfigModule | null,
    moduleDeclaration?: any,
  ): MedusaIdempotencyKeyService;
};
