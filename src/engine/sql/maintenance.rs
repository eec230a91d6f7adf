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

/// Answers one row: how many pages the table has, or the largest of its partitions; how many partitions there are, or 1;
/// and whether the server finds the rows of a range of pages without reading the others, as PostgreSQL does since 14.
pub fn pages(table: &Table) -> String {
    format!(
        "WITH part AS (
           SELECT relid FROM pg_partition_tree({table}::regclass) WHERE isleaf
         ), stored AS (
           SELECT relid FROM part
           UNION ALL SELECT {table}::regclass WHERE NOT EXISTS (SELECT FROM part)
         )
         SELECT coalesce(max(pg_relation_size(relid)), 0) / current_setting('block_size')::bigint,
           count(*), current_setting('server_version_num')::int >= 140000 FROM stored",
        table = literal(&table.name)
    )
}

/// Deletes finished keys that are older than `$1` and lie in the pages from `$2` up to `$3`. Keys that somebody has
/// locked are left. Each partition has pages of these numbers. A server that would read the whole table for a range of
/// pages is asked for each place in them where a row may be.
pub fn prune(table: &Table, finds_ranges: bool) -> Arc<str> {
    let in_pages = match finds_ranges {
        true => format!("ctid >= {} AND ctid < {}", first_of_page(2), first_of_page(3)),
        false => format!(
            "ctid = ANY (ARRAY(
               SELECT CAST('(' || page || ',' || line || ')' AS tid)
               FROM generate_series({from}, {to} - 1) AS page, generate_series(1, {LINES}) AS line
             ))",
            from = cast(2, "bigint"),
            to = cast(3, "bigint"),
        ),
    };
    statement(
        table,
        &format!(
            "WITH old AS (
               SELECT tableoid AS part, ctid AS location FROM @table
               WHERE {in_pages} AND recovery_point = '{FINISHED}'
                 AND created_at < statement_timestamp() - {age}
               FOR UPDATE SKIP LOCKED
             )
             DELETE FROM @table
             WHERE ctid = ANY (ARRAY(SELECT location FROM old))
               AND (tableoid, ctid) IN (SELECT part, location FROM old)
               AND recovery_point = '{FINISHED}'
             RETURNING true",
            age = cast(1, "interval"),
        ),
    )
}

/// How many rows a page has at most: of a page's bytes 24 are its header's, and a row takes at least 28.
const LINES: &str = "(current_setting('block_size')::int - 24) / 28";

/// The first place of the page that a parameter gives the number of.
fn first_of_page(parameter: usize) -> String {
    format!("CAST('(' || CAST(${parameter} AS text) || ',0)' AS tid)")
}
