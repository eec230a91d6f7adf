//! Finds requests that nobody works on.

use std::sync::Arc;

use crate::engine::key::FINISHED;
use crate::engine::sql::fragments::{Table, cast, live, row, statement};

/// Parameters: how long ago a request came or was heard of last, and how long a lease holds.
pub fn single(table: &Table, interrupted: bool, limit: u32) -> Arc<str> {
    statement(
        table,
        &format!(
            "SELECT {row} FROM @table
             WHERE recovery_point <> '{FINISHED}' {had_lease}
               AND coalesce(locked_at, created_at) <= statement_timestamp() - {older_than}
               AND NOT {live}
             ORDER BY created_at, id LIMIT {limit}",
            row = row(),
            had_lease = if interrupted { "AND locked_at IS NOT NULL" } else { "" },
            older_than = cast(1, "interval"),
            live = live(&cast(2, "interval")),
        ),
    )
}
