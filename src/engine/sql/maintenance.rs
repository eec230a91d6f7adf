//! What concerns the table as a whole.

use std::sync::Arc;

use crate::engine::key::FINISHED;
use crate::engine::sql::fragments::{FINGERPRINT, HEADERS, Table, cast, literal, statement};

/// Answers one row: whether the table has the column for fingerprints, and the one for headers.
pub fn optional_columns(table: &Table) -> String {
    format!(
        "SELECT coalesce(bool_or(attname = '{FINGERPRINT}'), false), \
         coalesce(bool_or(attname = '{HEADERS}'), false) \
         FROM pg_attribute WHERE attrelid = to_regclass({table}) AND NOT attisdropped",
        table = literal(&table.name)
    )
}

/// Answers one row: how many pages the table has, and 1; where it is partitioned, how many the largest of its
/// partitions has, and how many of them there are.
pub fn pages(table: &Table) -> String {
    format!(
        "WITH part AS (
           SELECT relid FROM pg_partition_tree({table}::regclass) WHERE isleaf
         ), stored AS (
           SELECT relid FROM part
           UNION ALL SELECT {table}::regclass WHERE NOT EXISTS (SELECT FROM part)
         )
         SELECT coalesce(max(pg_relation_size(relid)), 0) / current_setting('block_size')::bigint,
           count(*) FROM stored",
        table = literal(&table.name)
    )
}

/// Deletes finished keys that are older than `$1` and lie in the pages from `$2` up to `$3`, which go as
/// `tid`s. Keys that somebody has locked are left. Each partition has pages of these numbers.
pub fn prune(table: &Table) -> Arc<str> {
    statement(
        table,
        &format!(
            "WITH old AS (
               SELECT tableoid AS part, ctid AS location FROM @table
               WHERE ctid >= {from} AND ctid < {to} AND recovery_point = '{FINISHED}'
                 AND created_at < statement_timestamp() - {age}
               FOR UPDATE SKIP LOCKED
             )
             DELETE FROM @table
             WHERE ctid = ANY (ARRAY(SELECT location FROM old))
               AND (tableoid, ctid) IN (SELECT part, location FROM old)
               AND recovery_point = '{FINISHED}'
             RETURNING true",
            age = cast(1, "interval"),
            from = cast(2, "tid"),
            to = cast(3, "tid"),
        ),
    )
}
