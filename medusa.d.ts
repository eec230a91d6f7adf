import type { IdempotencyKeyService as MedusasService } from "@medusajs/medusa";
import type { IdempotencyKeyOptions, IdempotencyKeyService, MedusaConfigModule } from "./index";

type EntityManager = NonNullable<Parameters<MedusasService["withTransaction"]>[0]>;
type Ours = IdempotencyKeyService<EntityManager>;

// Else everything here is exported, whether it says so or not.
export {};

/**
 * The service where Medusa v1's own is declared. Medusa's class has protected members, so TypeScript
 * takes no other class for it, whatever its methods are: this type is both.
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
 * The same class as `IdempotencyKeyService`, to be constructed or extended as a subclass of Medusa's.
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
  /** How awilix, and so Medusa, registers the service. Set it in a subclass. */
  LIFE_TIME?: "SINGLETON" | "SCOPED" | "TRANSIENT";
  new (
    container: Record<string, any>,
    options?: IdempotencyKeyOptions | MedusaConfigModule | null,
    moduleDeclaration?: any,
  ): MedusaIdempotencyKeyService;
};
