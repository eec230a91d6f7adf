"use strict";

const { isDeepStrictEqual } = require("node:util");

/** The effect of each stage: how many there are, for a cart. */
const EFFECTS = {
  taxes: ["tax lines", `SELECT count(*)::int FROM tax_line WHERE cart_id = $1`],
  payment: ["payments", `SELECT count(*)::int FROM payment WHERE cart_id = $1`],
  order: ["orders", `SELECT count(*)::int FROM "order" WHERE cart_id = $1`],
  confirmation: [
    "confirmations",
    `SELECT count(*)::int FROM confirmation
     WHERE order_id IN (SELECT id FROM "order" WHERE cart_id = $1)`,
  ],
};

/**
 * Compares what the database holds with what a single checkout would have left there.
 *
 * @param {import("pg").Client} client
 * @param {{ key: string, cartId: string }} request
 * @param {object[]} tries what each try of the request saw
 * @param {string[]} recoveryPoints which each try was to find
 * @returns {Promise<{ name: string, values: (string | number)[], note: string, passed: boolean }[]>}
 */
async function audit(client, { key, cartId }, tries, recoveryPoints) {
  const checks = [];
  for (const [stage, [name, sql]] of Object.entries(EFFECTS)) {
    const [value] = await valuesOf(client, sql, [cartId]);
    const begun = tries.flatMap(({ stages }) => stages).filter((one) => one === stage).length;
    checks.push({
      name,
      values: [value],
      note: `its stage began ${begun} times`,
      passed: value === 1,
    });
  }
  const [recoveryPoint, ...stored] = await valuesOf(
    client,
    `SELECT recovery_point, response_code, response_body FROM idempotency_key
     WHERE idempotency_key = $1`,
    [key],
  );
  const answers = tries.map(({ answer }) => answer).filter(Boolean);
  const same = answers.filter((answer) => isDeepStrictEqual(Object.values(answer), stored));
  const found = tries.filter((one, index) => one.recoveryPoint === recoveryPoints[index]);
  return [
    ...checks,
    {
      name: "key",
      values: [recoveryPoint],
      note: `with answer ${stored[0]}`,
      passed: recoveryPoint === "finished" && stored[0] === 200,
    },
    {
      name: "answers",
      values: [`${same.length} of ${answers.length}`],
      note: "equal the stored one",
      passed: answers.length > 0 && same.length === answers.length,
    },
    {
      name: "tries",
      values: [`${found.length} of ${tries.length}`],
      note: "found the recovery point of the last commit",
      passed: found.length === tries.length,
    },
  ];
}

async function valuesOf(client, sql, parameters) {
  const { rows } = await client.query({ text: sql, values: parameters, rowMode: "array" });
  return rows[0] ?? [];
}

module.exports = { audit };
