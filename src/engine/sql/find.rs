//! Finds keys.

use std::sync::Arc;

use crate::engine::sql::fragments::{Table, guard, key, row, statement};
use crate::engine::sql::input::input;

/// Parameter: the key.
pub fn single(table: &Table) -> Arc<str> {
    statement(table, &format!("SELECT {} FROM @table WHERE @guard AND idempotency_key = $1", row()))
}

/// The same for a batch, which answers no more than the keys.
pub fn batch(table: &Table) -> Arc<str> {
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
/// `parameters` is how many the condition has.
pub fn selected(table: &Table, condition: &str, parameters: usize) -> Arc<str> {
    let keys = statement(table, &format!("SELECT {} FROM @table AS \"IdempotencyKey\"", row()));
    let guarded = match table.is_guarded {
        true => format!("{} AND ({condition})", guard(parameters + 1)),
        false => condition.to_owned(),
    };
    format!("{keys} WHERE {guarded} LIMIT 2").into()
}
