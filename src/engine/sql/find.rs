//! Finds keys.

use std::sync::Arc;

use crate::engine::sql::fragments::{key, row, statement};
use crate::engine::sql::input::input;

/// Parameter: the key.
pub fn single(table: &str) -> Arc<str> {
    statement(table, &format!("SELECT {} FROM @table WHERE idempotency_key = $1", row()))
}

/// The same for a batch, which answers no more than the keys.
pub fn batch(table: &str) -> Arc<str> {
    statement(
        table,
        &format!(
            "SELECT n, found.* FROM {input}
             CROSS JOIN LATERAL (SELECT {key} FROM @table WHERE idempotency_key = k OFFSET 0) found",
            input = input(&["k"]),
            key = key(),
        ),
    )
}

/// The keys for which a condition holds; two are enough to tell one from several. The table has the name by which
/// TypeORM's users know it in SQL of their own (`TABLE` in `lib/values/raw.js`), which stays as they have written it.
pub fn selected(table: &str, condition: &str) -> Arc<str> {
    let keys = statement(table, &format!("SELECT {} FROM @table AS \"IdempotencyKey\"", row()));
    format!("{keys} WHERE {condition} LIMIT 2").into()
}
