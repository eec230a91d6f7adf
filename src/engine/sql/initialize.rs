//! Inserts the key of a request with a lease, or finds the one that exists.

use std::sync::Arc;

use crate::engine::protocol::statement::OptionalColumns;
use crate::engine::sql::fragments::{
    Described, FINGERPRINT, LOCK_TIMEOUT_20MS, cast, headers, literal, live, no_headers, row,
    row_names, same, statement,
};
use crate::engine::sql::input::{input, request_names, requested};

/// Parameters: key, method, path, route parameters, lease, id, and the fingerprint where the table has a column
/// for it.
pub fn single(table: &str, optional: OptionalColumns) -> Arc<str> {
    let fingerprint = optional.fingerprint;
    statement(
        table,
        &format!(
            "WITH created AS (
               INSERT INTO @table (idempotency_key, request_method, request_path, request_params,
                 locked_at, id{column})
               VALUES ($1, CAST($2 AS text), CAST($3 AS text), {params},
                 statement_timestamp(), $6{value})
               ON CONFLICT (idempotency_key) DO NOTHING
               RETURNING {row}, true AS won, true AS live, true AS same{no_headers}
             )
             SELECT * FROM created
             UNION ALL SELECT {row}, false, {live}, {same}{headers} FROM @table
             WHERE idempotency_key = $1 AND NOT EXISTS (SELECT FROM created)",
            column = if fingerprint { format!(", {FINGERPRINT}") } else { String::new() },
            value = if fingerprint { ", $7" } else { "" },
            params = cast(4, "jsonb"),
            row = row(),
            headers = headers(optional),
            no_headers = no_headers(optional),
            live = live(&cast(5, "interval")),
            same = same_request(fingerprint.then_some(7)),
        ),
    )
}

/// Inserts the key in a transaction that goes on, unless another one has, for which this does not wait: the lock
/// says so. Parameters: key, method, path, route parameters, id, and the fingerprint where the table has a column
/// for it.
pub fn begin(table: &str, fingerprint: bool) -> Arc<str> {
    statement(
        table,
        &format!(
            "INSERT INTO @table (idempotency_key, request_method, request_path, request_params,
               locked_at, id{column})
             SELECT CAST($1 AS text), CAST($2 AS text), CAST($3 AS text), {params},
               statement_timestamp(), CAST($5 AS text){value}
             WHERE {lock}
             ON CONFLICT (idempotency_key) DO NOTHING
             RETURNING {row}, true AS won, true AS live, true AS same",
            lock = lock(table),
            column = if fingerprint { format!(", {FINGERPRINT}") } else { String::new() },
            value = if fingerprint { ", CAST($6 AS text)" } else { "" },
            params = cast(4, "jsonb"),
            row = row(),
        ),
    )
}

/// Whether the transaction has the lock of [`begin`]. Parameter: the key. Answers a row of the columns of a claim.
pub fn may_begin(table: &str) -> Arc<str> {
    let lock = lock(table);
    format!("SELECT '' AS recovery_point, '' AS location, '' AS token, {lock} AS live").into()
}

/// The lock of whoever may begin with a key, which a transaction can take as often as it likes.
fn lock(table: &str) -> String {
    let table = literal(table);
    format!(
        "pg_try_advisory_xact_lock(\
         hashtextextended(CAST($1 AS text), CAST({table} AS regclass)::oid::int8))"
    )
}

/// Finds the key. Parameters: key, method, path, route parameters, lease, and the fingerprint where the table has a
/// column for it.
pub fn look(table: &str, optional: OptionalColumns) -> Arc<str> {
    let fingerprint = optional.fingerprint;
    statement(
        table,
        &format!(
            "SELECT {row}, false AS won, {live} AS live, {same} AS same{headers} FROM @table
             WHERE idempotency_key = $1",
            row = row(),
            headers = headers(optional),
            live = live(&cast(5, "interval")),
            same = same_request(fingerprint.then_some(6)),
        ),
    )
}

/// The same for a batch.
pub fn look_batch(table: &str, optional: OptionalColumns) -> Arc<str> {
    let fingerprint = optional.fingerprint;
    statement(
        table,
        &format!(
            "SELECT n, found.* FROM {input}
             CROSS JOIN LATERAL (
               SELECT {row}, false AS won, {live} AS live, {same} AS same{headers} FROM @table
               WHERE idempotency_key = k OFFSET 0
             ) found",
            input = input(&request_names(fingerprint)),
            headers = headers(optional),
            row = row(),
            live = live("CAST(l AS interval)"),
            same = same(&requested(fingerprint), "request_params"),
        ),
    )
}

/// Whether a row is of the request that the parameters describe: from the second on, and the fingerprint's.
pub fn same_request(fingerprint: Option<usize>) -> String {
    let digest = fingerprint.map(|parameter| cast(parameter, "text"));
    let request = Described {
        method: &cast(2, "text"),
        path: &cast(3, "text"),
        params: &cast(4, "jsonb"),
        fingerprint: digest.as_deref(),
    };
    same(&request, "request_params")
}

/// The same for a batch. A statement does not see what it inserts: those who lose against another row of the
/// batch are answered with what that row has inserted.
pub fn batch(table: &str, optional: OptionalColumns) -> Arc<str> {
    let fingerprint = optional.fingerprint;
    let column = if fingerprint { format!(", {FINGERPRINT}") } else { String::new() };
    statement(
        table,
        &format!(
            "WITH input AS (
               SELECT * FROM {input}
             ), created AS (
               INSERT INTO @table (idempotency_key, request_method, request_path, request_params,
                 locked_at, id{column})
               SELECT k, m, p, CAST(j AS jsonb), statement_timestamp(), id_or_token{value} FROM input
               WHERE {LOCK_TIMEOUT_20MS}
               ON CONFLICT (idempotency_key) DO NOTHING
               RETURNING {row}{column}
             )
             SELECT n, {row_names}, id = id_or_token AS won, id = id_or_token OR {live} AS live,
               id = id_or_token OR ({same_inserted}) AS same{no_headers}
             FROM input JOIN created ON idempotency_key = k
             UNION ALL SELECT n, found.* FROM input
             CROSS JOIN LATERAL (
               SELECT {row}, false, {live}, {same}{headers} FROM @table
               WHERE idempotency_key = k OFFSET 0
             ) found
             WHERE NOT EXISTS (SELECT FROM created WHERE idempotency_key = k)",
            input = input(&request_names(fingerprint)),
            value = if fingerprint { ", f" } else { "" },
            headers = headers(optional),
            no_headers = no_headers(optional),
            row = row(),
            row_names = row_names(),
            live = live("CAST(l AS interval)"),
            same_inserted = same(&requested(fingerprint), "CAST(request_params AS jsonb)"),
            same = same(&requested(fingerprint), "request_params"),
        ),
    )
}
