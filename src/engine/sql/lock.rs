//! Locks a key for a while: its lease, as Medusa's `lock()` takes it.

use std::sync::Arc;

use crate::engine::sql::fragments::{TOKEN, Table, cast, live, row, statement};
use crate::engine::sql::input::input;

/// Parameters: the key, how long an earlier lock holds, and the token of the one that does not count. A row that
/// another transaction has locked is in use, so it is skipped and not waited for: `statement_timestamp()`
/// would be old by the time the wait ends.
pub fn single(table: &Table) -> Arc<str> {
    statement(
        table,
        &format!(
            "WITH won AS (
               UPDATE @table SET locked_at = statement_timestamp()
               WHERE @guard AND idempotency_key = $1 AND id = (
                 SELECT id FROM @table
                 WHERE @guard AND idempotency_key = $1 AND (NOT {live} OR {TOKEN} = CAST($3 AS text))
                 FOR UPDATE SKIP LOCKED
               )
               RETURNING {row}, true AS won, true AS live, true AS same
             )
             SELECT * FROM won
             UNION ALL SELECT {row}, false, true, true FROM @table
             WHERE @guard AND idempotency_key = $1 AND NOT EXISTS (SELECT FROM won)",
            live = live(&cast(2, "interval")),
            row = row(),
        ),
    )
}

/// The same for a batch.
pub fn batch(table: &Table) -> Arc<str> {
    let free = format!("(NOT {} OR {TOKEN} = own)", live("CAST(l AS interval)"));
    // `NOT IN`, as the planner cannot tell how many rows a statement will have written: it would compare
    // each with each.
    statement(
        table,
        &format!(
            "WITH input AS (
               SELECT * FROM {input}
             ), {won}
             SELECT * FROM won
             UNION ALL SELECT input.n, found.* FROM input
             CROSS JOIN LATERAL (
               SELECT {row}, false, true, true FROM @table WHERE idempotency_key = k OFFSET 0
             ) found
             WHERE n NOT IN (SELECT n FROM won)",
            input = input(&["k", "l", "own"]),
            won = won(&free, "true"),
            row = row(),
        ),
    )
}

/// Those of a batch who get the lease of their key: the first who asks for it, if nobody has locked the key's row
/// and a condition holds.
pub fn won(condition: &str, same: &str) -> String {
    format!(
        "free AS (
           SELECT n, k, same, row_id FROM input
           CROSS JOIN LATERAL (
             SELECT id AS row_id, {same} AS same FROM @table
             WHERE idempotency_key = k AND {condition}
             FOR UPDATE SKIP LOCKED
           ) free
         ), first AS (
           SELECT DISTINCT ON (row_id) * FROM free ORDER BY row_id, n
         ), won AS (
           UPDATE @table SET locked_at = statement_timestamp() FROM first
           WHERE idempotency_key = k AND id = row_id
           RETURNING n, {row}, true AS won, true AS live, same
         )",
        row = row(),
    )
}
