//! Finds a key, or inserts it where there is none: Medusa's semantics.

use std::sync::Arc;

use crate::engine::key::Column;
use crate::engine::key::ColumnSet;
use crate::engine::sql::create::{casts, new_values};
use crate::engine::sql::fragments::{LOCK_TIMEOUT_20MS, Table, key, names, statement};
use crate::engine::sql::input::{input, value_name, value_names};

/// Parameters: the key that is looked for, and the values of all columns. Answers no more than the key, as
/// [`create::single`](super::create::single).
pub fn single(table: &Table) -> Arc<str> {
    statement(
        table,
        &format!(
            "WITH known AS (
               SELECT {key} FROM @table WHERE @guard AND idempotency_key = $1
             ), created AS (
               INSERT INTO @table ({names})
               SELECT {values} WHERE @guard AND NOT EXISTS (SELECT FROM known)
               RETURNING {key}
             )
             SELECT * FROM known UNION ALL SELECT * FROM created",
            key = key(),
            names = names(),
            values = casts(2),
        ),
    )
}

/// The same for a batch, whose rows are told by their ids.
pub fn batch(table: &Table, columns: ColumnSet) -> Arc<str> {
    let mut input_names = vec!["k"];
    input_names.extend(value_names(columns));
    statement(
        table,
        &format!(
            "WITH input AS (
               SELECT * FROM {input}
             ), known AS (
               SELECT input.n, known.* FROM input
               CROSS JOIN LATERAL (SELECT {key} FROM @table WHERE idempotency_key = k OFFSET 0) known
             ), created AS (
               INSERT INTO @table ({names})
               SELECT {values} FROM input
               WHERE {LOCK_TIMEOUT_20MS} AND NOT EXISTS (SELECT FROM known WHERE known.n = input.n)
               ON CONFLICT DO NOTHING
               RETURNING {key}
             )
             SELECT * FROM known
             UNION ALL SELECT n, created.* FROM created JOIN input ON {id} = id",
            input = input(&input_names),
            key = key(),
            names = names(),
            values = new_values(columns),
            id = value_name(Column::Id),
        ),
    )
}
