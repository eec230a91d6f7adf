// "Create Idempotency Key", the first example of Medusa's documentation of the service, word for word.
// prettier-ignore
import type {
  MedusaRequest,
  MedusaResponse,
} from "@medusajs/medusa"
// prettier-ignore
import { IdempotencyKeyService } from "@medusajs/medusa"

// prettier-ignore
export const POST = async (
  req: MedusaRequest,
  res: MedusaResponse
) => {
  const idempotencyKeyService = req.scope.resolve<
    IdempotencyKeyService
  >("idempotencyKeyService")
  const idempotencyKey = await idempotencyKeyService.create({
    request_method: req.method,
    request_params: req.params,
    request_path: req.path,
  })
  res.json({ idempotency_key: idempotencyKey })
}
