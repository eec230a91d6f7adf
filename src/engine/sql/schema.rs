//! The table and its columns.

use crate::engine::sql::Sql;
use crate::engine::sql::fragments::{FINGERPRINT, literal, quoted};

impl Sql {
    /// A block that creates the unique index, whatever the name of the one that may be there.
    fn index_where_missing(&self) -> String {
        format!(
            "BEGIN IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a \
             ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
             WHERE i.indrelid = {name}::regclass AND i.indisunique AND i.indnkeyatts = 1 \
             AND i.indpred IS NULL AND a.attname = 'idempotency_key') THEN \
             CREATE UNIQUE INDEX ON {table} (idempotency_key); END IF; END",
            name = literal(&self.table),
            table = self.table,
        )
    }

    /// Creates the table as Medusa's migrations do, where it is missing, and the column that is not
    /// among Medusa's, in a transaction.
    pub fn migrate(&self) -> String {
        let Self { schema, table, .. } = self;
        let schema = match schema {
            Some(schema) => format!("CREATE SCHEMA IF NOT EXISTS {};", quoted(schema)),
            None => String::new(),
        };
        // Two services that start at once would otherwise both find the table missing.
        format!(
            "SELECT pg_advisory_xact_lock(hashtext('medusa-idempotency-key migrate')); \
             {schema} \
             CREATE TABLE IF NOT EXISTS {table} (\
             id character varying NOT NULL PRIMARY KEY, \
             idempotency_key character varying NOT NULL, \
             created_at timestamp with time zone NOT NULL DEFAULT now(), \
             locked_at timestamp with time zone, \
             request_method character varying, \
             request_params jsonb, \
             request_path character varying, \
             response_code integer, \
             response_body jsonb, \
             recovery_point character varying NOT NULL DEFAULT 'started'); \
             ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {FINGERPRINT} character varying; \
             DO {index}",
            index = literal(&self.index_where_missing())
        )
    }
}
