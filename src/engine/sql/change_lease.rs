//! Renews a lease, ends it, or has it run out.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::key::{FINISHED, Text};
use crate::engine::protocol::statement::{LeaseAction, LeaseOf};
use crate::engine::sql::fragments::{
    Table, cast, holds_one_of, interval, live, row, statement, tokens,
};

/// How long ago a lease has run out that is made to: for a service whose leases hold for longer, too.
const EXPIRED_FOR: &str = "interval '1 day'";

/// The statement and its parameters after the key.
pub fn single(
    table: &Table,
    which: &LeaseOf,
    action: LeaseAction,
    lease: Duration,
) -> (Arc<str>, Vec<Text>) {
    let mut parameters = Vec::new();
    let mut given = |value, sql_type| {
        parameters.push(Some(value));
        cast(parameters.len() + 1, sql_type)
    };
    let is_meant = match which {
        LeaseOf::Tokens(held) => holds_one_of(&given(tokens(held), "text[]")),
        LeaseOf::Nobody => format!("NOT {}", live(&given(interval(lease), "interval"))),
    };
    let time = match action {
        LeaseAction::Renew => "statement_timestamp()".to_owned(),
        LeaseAction::End => "NULL".to_owned(),
        LeaseAction::Expire => {
            let lease = given(interval(lease), "interval");
            format!("statement_timestamp() - greatest({lease}, {EXPIRED_FOR})")
        }
    };
    let text = statement(
        table,
        &format!(
            "WITH won AS (
               UPDATE @table SET locked_at = {time}
               WHERE @guard AND idempotency_key = $1 AND id = (
                 SELECT id FROM @table WHERE @guard AND idempotency_key = $1 AND {meant} FOR UPDATE SKIP LOCKED
               )
               RETURNING {row}, true AS won, true AS live, true AS same
             )
             SELECT * FROM won
             UNION ALL SELECT {row}, false, {meant}, true FROM @table
             WHERE @guard AND idempotency_key = $1 AND NOT EXISTS (SELECT FROM won)",
            row = row(),
            meant = format_args!(
                "(recovery_point <> '{FINISHED}' AND locked_at IS NOT NULL AND {is_meant})"
            ),
        ),
    );
    (text, parameters)
}
