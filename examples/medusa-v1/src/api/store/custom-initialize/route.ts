// "Create Idempotency Key", the second example of Medusa's documentation of the service, word for word.
// prettier-ignore
import type {
  MedusaRequest,
  MedusaResponse,
} from "@medusajs/medusa"
// prettier-ignore
import {
  IdempotencyKeyService,
} from "@medusajs/medusa"

// prettier-ignore
export const POST = async (
  req: MedusaRequest,
  res: MedusaResponse
) => {
  const idempotencyKeyService = req.scope.resolve<
    IdempotencyKeyService
  >("idempotencyKeyService")
  const headerKey = req.get("Idempotency-Key") || ""

  const idempotencyKey = await idempotencyKeyService
    .initializeRequest(
      headerKey,
      req.method,
      req.params,
      req.path
    )
  res.json({ idempotency_key: idempotencyKey })
}
