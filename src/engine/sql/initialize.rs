//! Inserts the key of a request with a lease, or finds the one that exists.

use std::sync::Arc;

use crate::engine::protocol::statement::OptionalColumns;
use crate::engine::sql::fragments::{
    Described, FINGERPRINT, LOCK_TIMEOUT_20MS, TRANSACTION, Table, cast, headers, live, new_row,
    no_headers, row, row_names, same, statement,
};
use crate::engine::sql::input::{input, request_names, requested};

/// Parameters: key, method, path, route parameters, lease, id, and the fingerprint where the table has a column
/// for it.
pub fn single(table: &Table, optional: OptionalColumns) -> Arc<str> {
    let fingerprint = optional.fingerprint;
    let values = format!(
        "CAST($1 AS text), CAST($2 AS text), CAST($3 AS text), {params}, statement_timestamp(),
         CAST($6 AS text){fingerprint}",
        params = cast(4, "jsonb"),
        fingerprint = if fingerprint { ", CAST($7 AS text)" } else { "" },
    );
    statement(
        table,
        &format!(
            "WITH created AS (
               INSERT INTO @table (idempotency_key, request_method, request_path, request_params,
                 locked_at, id{column})
               {new}
               ON CONFLICT (idempotency_key) DO NOTHING
               RETURNING {row}, true AS won, true AS live, true AS same{no_headers}
             )
             SELECT * FROM created
             UNION ALL SELECT {row}, false, {live}, {same}{headers} FROM @table
             WHERE @guard AND idempotency_key = $1 AND NOT EXISTS (SELECT FROM created)",
            column = if fingerprint { format!(", {FINGERPRINT}") } else { String::new() },
            new = new_row(table, &values),
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
pub fn begin(table: &Table, fingerprint: bool) -> Arc<str> {
    statement(
        table,
        &format!(
            "INSERT INTO @table (idempotency_key, request_method, request_path, request_params,
               locked_at, id{column})
             SELECT CAST($1 AS text), CAST($2 AS text), CAST($3 AS text), {params},
               statement_timestamp(), CAST($5 AS text){value}
             WHERE @guard AND {LOCK}
             ON CONFLICT (idempotency_key) DO NOTHING
             RETURNING {row}, true AS won, true AS live, true AS same, {TRANSACTION}",
            column = if fingerprint { format!(", {FINGERPRINT}") } else { String::new() },
            value = if fingerprint { ", CAST($6 AS text)" } else { "" },
            params = cast(4, "jsonb"),
            row = row(),
        ),
    )
}

/// Whether the transaction has the lock of [`begin`]. Parameter: the key. Answers a row of the columns of a claim.
pub fn may_begin(table: &Table) -> Arc<str> {
    statement(
        table,
        &format!(
            "SELECT '' AS recovery_point, '' AS location, '' AS token, {LOCK} AS live, {TRANSACTION} WHERE @guard"
        ),
    )
}

/// The lock of whoever may begin with a key, which a transaction can take as often as it likes.
const LOCK: &str = "pg_try_advisory_xact_lock(\
    hashtextextended(CAST($1 AS text), CAST(@literal AS regclass)::oid::int8))";

/// Finds the key. Parameters: key, method, path, route parameters, lease, and the fingerprint where the table has a
/// column for it.
pub fn look(table: &Table, optional: OptionalColumns) -> Arc<str> {
    let fingerprint = optional.fingerprint;
    statement(
        table,
        &format!(
            "SELECT {row}, false AS won, {live} AS live, {same} AS same{headers} FROM @table
             WHERE @guard AND idempotency_key = $1",
            row = row(),
            headers = headers(optional),
            live = live(&cast(5, "interval")),
            same = same_request(fingerprint.then_some(6)),
        ),
    )
}

/// The same for a batch.
pub fn look_batch(table: &Table, optional: OptionalColumns) -> Arc<str> {
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
pub fn batch(table: &Table, optional: OptionalColumns) -> Arc<str> {
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
