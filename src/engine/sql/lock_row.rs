//! Locks the row of a key until the transaction ends.

use std::sync::Arc;

use crate::engine::key::Column;
use crate::engine::sql::fragments::{
    TRANSACTION, Table, answered, cast, live, location_and_token, row, statement,
};

/// Waits for whoever has locked the row. Parameter: the key.
pub fn waiting(table: &Table) -> Arc<str> {
    statement(
        table,
        &format!(
            "SELECT {row}, {TRANSACTION} FROM @table WHERE @guard AND idempotency_key = $1 FOR UPDATE",
            row = row(),
        ),
    )
}

/// Answers what a claim is judged by, or nothing if somebody has locked the row. Parameters: the key, how long a
/// lease holds, and the location where the row was seen last, if it is looked for there.
pub fn claim(table: &Table, has_location: bool) -> Arc<str> {
    let location = match has_location {
        true => format!("AND ctid = {}", cast(3, "tid")),
        false => String::new(),
    };
    statement(
        table,
        &format!(
            "SELECT {recovery_point}, {location_and_token}, {live} AS live, {TRANSACTION}
             FROM @table
             WHERE @guard AND idempotency_key = $1 {location}
             FOR UPDATE SKIP LOCKED",
            recovery_point = answered(Column::RecoveryPoint),
            location_and_token = location_and_token(),
            live = live(&cast(2, "interval")),
        ),
    )
}
