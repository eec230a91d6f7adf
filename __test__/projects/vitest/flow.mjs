import { randomUUID } from "node:crypto";
import { IdempotencyKeyService } from "medusa-idempotency-key";
import { expect, test } from "vitest";

/** The tests of each file, which has a worker of its own; none of them closes its service. */
export function flow() {
  const service = new IdempotencyKeyService({}, {});

  test("the first call of a worker is settled", async () => {
    await expect(service.retrieve(randomUUID())).rejects.toMatchObject({ type: "not_found" });
  });

  test("a request runs once", async () => {
    const request = { key: randomUUID(), method: "POST", path: "/orders" };
    let runs = 0;
    const stages = {
      started: async (manager) => {
        runs += 1;
        expect(await manager.query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
        return { recovery_point: "ordered" };
      },
      ordered: () => ({ response_code: 201, response_body: { done: true } }),
    };
    for (const replayed of [false, true]) {
      const answer = await service.runStages(request, stages);
      expect(answer).toMatchObject({ replayed, response_code: 201, response_body: { done: true } });
    }
    expect(runs).toBe(1);
  });
}
