"use strict";

// What `medusa migrations run` adds to Medusa's table for answers of HTTP requests. Medusa's own service takes no
// notice of it.

const COLUMN = "response_headers";

class AddResponseHeaders1764201600000 {
  name = "AddResponseHeaders1764201600000";

  async up(queryRunner) {
    await queryRunner.query(
      `ALTER TABLE ${tableOf(queryRunner)} ADD COLUMN IF NOT EXISTS ${COLUMN} jsonb`,
    );
  }

  async down(queryRunner) {
    await queryRunner.query(`ALTER TABLE ${tableOf(queryRunner)} DROP COLUMN IF EXISTS ${COLUMN}`);
  }
}

/** Where the DataSource's options say that Medusa's tables are. */
function tableOf({ connection }) {
  const { schema } = connection.options;
  const quoted = (name) => `"${name.replaceAll('"', '""')}"`;
  return schema ? `${quoted(schema)}.idempotency_key` : "idempotency_key";
}

exports.AddResponseHeaders1764201600000 = AddResponseHeaders1764201600000;
