//! What concerns the table as a whole.

use std::sync::Arc;

use crate::engine::key::FINISHED;
use crate::engine::sql::fragments::{FINGERPRINT, cast, literal, statement};

/// Answers one row, of one column: whether the table has the column for fingerprints.
pub fn has_fingerprints(table: &str) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass({table}) \
         AND attname = '{FINGERPRINT}' AND NOT attisdropped)",
        table = literal(table)
    )
}

/// Answers one row, of one column: how many pages the table has.
pub fn pages(table: &str) -> String {
    format!(
        "SELECT pg_relation_size({table}::regclass) / current_setting('block_size')::bigint",
        table = literal(table)
    )
}

/// Deletes finished keys that are older than `$1` and lie in the pages from `$2` up to `$3`, which go as
/// `tid`s. Keys that somebody has locked are left.
pub fn prune(table: &str) -> Arc<str> {
    statement(
        table,
        &format!(
            "DELETE FROM @table
             WHERE ctid = ANY (ARRAY(
               SELECT ctid FROM @table
               WHERE ctid >= {from} AND ctid < {to} AND recovery_point = '{FINISHED}'
                 AND created_at < statement_timestamp() - {age}
               FOR UPDATE SKIP LOCKED
             )) AND recovery_point = '{FINISHED}'
             RETURNING true",
            age = cast(1, "interval"),
            from = cast(2, "tid"),
            to = cast(3, "tid"),
        ),
    )
}
