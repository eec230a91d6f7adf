//! The table and its columns.

use crate::engine::sql::Sql;
use crate::engine::sql::fragments::{FINGERPRINT, HEADERS, literal, quoted};

impl Sql {
    /// Creates what is missing of the table as Medusa's migrations make it, and the columns that are not
    /// among Medusa's, in a transaction. What is there is left alone: `IF NOT EXISTS` would ask for the right to create it.
    pub fn migrate(&self) -> String {
        // Two services that start at once would otherwise both find the table missing.
        format!(
            "SELECT pg_advisory_xact_lock(hashtext('medusa-idempotency-key migrate')); \
             DO {block}",
            block = literal(&format!(
                "BEGIN {schema} {table} {fingerprint} {headers} {index} END",
                schema = self.schema_where_missing(),
                table = self.table_where_missing(),
                fingerprint = self.column_where_missing(FINGERPRINT, "character varying"),
                headers = self.column_where_missing(HEADERS, "jsonb"),
                index = self.index_where_missing(),
            ))
        )
    }

    fn schema_where_missing(&self) -> String {
        let Some(schema) = &self.schema else {
            return String::new();
        };
        let schema = quoted(schema);
        format!(
            "IF to_regnamespace({name}) IS NULL THEN CREATE SCHEMA IF NOT EXISTS {schema}; END IF;",
            name = literal(&schema),
        )
    }

    fn table_where_missing(&self) -> String {
        let (schema, table) = (&self.schema, &self.table.name);
        let name = match schema {
            Some(_) => literal(table),
            // Where it would be created, not where else it may be found.
            None => "quote_ident(current_schema()) || '.idempotency_key'".to_owned(),
        };
        format!(
            "IF to_regclass({name}) IS NULL THEN \
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
             recovery_point character varying NOT NULL DEFAULT 'started'); END IF;"
        )
    }

    fn column_where_missing(&self, column: &str, sql_type: &str) -> String {
        format!(
            "IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = {name}::regclass \
             AND attname = '{column}' AND NOT attisdropped) THEN \
             ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} {sql_type}; END IF;",
            name = literal(&self.table.name),
            table = self.table.name,
        )
    }

    /// The unique index, whatever the name of the one that may be there.
    fn index_where_missing(&self) -> String {
        format!(
            "IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a \
             ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
             WHERE i.indrelid = {name}::regclass AND i.indisunique AND i.indnkeyatts = 1 \
             AND i.indpred IS NULL AND a.attname = 'idempotency_key') THEN \
             CREATE UNIQUE INDEX ON {table} (idempotency_key); END IF;",
            name = literal(&self.table.name),
            table = self.table.name,
        )
    }
}
