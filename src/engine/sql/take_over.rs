//! Takes the lease of a request that nobody works on any more.

use std::sync::Arc;

use crate::engine::key::FINISHED;
use crate::engine::sql::fragments::{TOKEN, Table, cast, live, row, same, statement};
use crate::engine::sql::initialize::same_request;
use crate::engine::sql::input::{input, request_names, requested};
use crate::engine::sql::lock::won;

/// Parameters as those of [`initialize`](super::initialize::single), with the token that was seen in place of
/// the id. A row that another transaction has locked is left alone: it is in use.
pub fn single(table: &Table, fingerprint: bool) -> Arc<str> {
    statement(
        table,
        &format!(
            "UPDATE @table SET locked_at = statement_timestamp()
             WHERE @guard AND idempotency_key = $1 AND id = (
               SELECT id FROM @table
               WHERE @guard AND idempotency_key = $1 AND recovery_point <> '{FINISHED}'
                 AND NOT {live} AND {TOKEN} = CAST($6 AS text)
               FOR UPDATE SKIP LOCKED
             )
             RETURNING {row}, true AS won, true AS live, {same} AS same",
            live = live(&cast(5, "interval")),
            row = row(),
            same = same_request(fingerprint.then_some(7)),
        ),
    )
}

/// The same for a batch.
pub fn batch(table: &Table, fingerprint: bool) -> Arc<str> {
    let live = live("CAST(l AS interval)");
    let free = format!("recovery_point <> '{FINISHED}' AND NOT {live} AND {TOKEN} = id_or_token");
    statement(
        table,
        &format!(
            "WITH input AS (
               SELECT * FROM {input}
             ), {won}
             SELECT * FROM won",
            input = input(&request_names(fingerprint)),
            won = won(&free, &same(&requested(fingerprint), "request_params")),
        ),
    )
}
