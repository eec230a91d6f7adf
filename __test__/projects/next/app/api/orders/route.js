import { createIdempotency } from "medusa-idempotency-key";

const service = createIdempotency({ databaseUrl: process.env.DATABASE_URL });

export async function POST(request) {
  const { pathname } = new URL(request.url);
  const body = await request.json();
  const done = await service.runStages(
    { key: request.headers.get("idempotency-key"), method: "POST", path: pathname, body },
    {
      started: async (manager) => {
        const [order] = await manager.query("SELECT gen_random_uuid() AS id");
        return { response_code: 201, response_body: { order } };
      },
    },
  );
  return Response.json(done.response_body, { status: done.response_code });
}
