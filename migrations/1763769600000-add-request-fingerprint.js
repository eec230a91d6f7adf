"use strict";

// What `medusa migrations run` adds to Medusa's table: the one column that is not Medusa's. Medusa's
// own service takes no notice of it.

const COLUMN = "request_fingerprint";

class AddRequestFingerprint1763769600000 {
  name = "AddRequestFingerprint1763769600000";

  async up(queryRunner) {
    const table = tableOf(queryRunner);
    await queryRunner.query(
      `ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS ${COLUMN} character varying`,
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

exports.AddRequestFingerprint1763769600000 = AddRequestFingerprint1763769600000;
