//! Pieces of SQL that several statements have in common.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::key::{Column, ColumnSet, FINISHED};
use crate::engine::protocol::statement::{LeaseChange, OptionalColumns, Token};

/// The optional column for the digest of what a route does not tell of its request.
pub const FINGERPRINT: &str = "request_fingerprint";

/// The optional column for the headers of a stored answer.
pub const HEADERS: &str = "response_headers";

/// The token of a row's lease. Where there is none, it is the transaction that has written the row: so an
/// attempt that has released its lease, or finished, knows whether anybody has written since.
pub const TOKEN: &str = "coalesce(encode(timestamptz_send(locked_at), 'hex'), 'x' || xmin::text)";

/// The number of the transaction that a statement runs in, the time, as a token has it, and the server's process. A
/// statement that locks a row needs a number anyhow.
pub const TRANSACTION: &str = "txid_current()::text AS transaction, \
     encode(timestamptz_send(statement_timestamp()), 'hex') AS time, pg_backend_pid() AS backend";

/// True, and from then on the statement waits for another transaction for 20 ms at most: longer than most
/// transactions of others' batches last, which may insert the same keys.
pub const LOCK_TIMEOUT_20MS: &str = "(SELECT set_config('lock_timeout', '20', true)) IS NOT NULL";

/// The table of one schema, as statements name it.
#[derive(Debug)]
pub struct Table {
    /// Its name, quoted.
    pub name: String,
    /// Whether statements on it are for one transaction only: see [`guard`].
    pub is_guarded: bool,
}

/// A statement from a template of many lines, in which `@table` stands for the table, `@literal` for its name as
/// text, and `@guard` for the condition that it runs in the transaction that it is meant for, where it is guarded.
/// The table's name is written last, as it may hold anything.
pub fn statement(table: &Table, template: &str) -> Arc<str> {
    let lines: Vec<&str> =
        template.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let template = lines.join(" ");
    let template = match table.is_guarded {
        true => template.replace("@guard", &guard(next_parameter(&template))),
        false => template.replace("@guard AND ", "").replace("@guard", "true"),
    };
    let parts = template.split("@literal").map(|part| part.replace("@table", &table.name));
    parts.collect::<Vec<_>>().join(&literal(&table.name)).into()
}

/// A row to insert; where it is guarded, only in the transaction that it is meant for.
pub fn new_row(table: &Table, values: &str) -> String {
    match table.is_guarded {
        true => format!("SELECT {values} WHERE @guard"),
        false => format!("VALUES ({values})"),
    }
}

/// Whether the transaction is the one whose number a parameter gives, as text. In another one the statement finds
/// nothing and does nothing; none gets a number by being asked.
pub fn guard(parameter: usize) -> String {
    format!("txid_current_if_assigned()::text = ${parameter}")
}

/// The number after those of a template's parameters.
fn next_parameter(template: &str) -> usize {
    (1..).find(|number| !template.contains(&format!("${number}"))).unwrap_or(1)
}

/// Columns as a statement answers them.
pub fn selected(columns: ColumnSet) -> String {
    columns.iter().map(answered).collect::<Vec<_>>().join(", ")
}

/// A column as a statement answers it: of the type that it is read as, whatever type the table's owner has given
/// it. A value that is none of that type fails the statement, before anything is committed.
pub fn answered(column: Column) -> String {
    let sql_type = if column.is_json() { "text" } else { column.sql_type() };
    format!("{name}::{sql_type} AS {name}", name = column.name())
}

/// The columns of a key.
pub fn key() -> String {
    selected(ColumnSet::ALL)
}

/// The columns of a row: the key's, its location and its token. Statements that compete answer three more:
/// whether the row was won, whether its lease is live, whether the request is the same.
pub fn row() -> String {
    format!("{}, {}", key(), location_and_token())
}

/// What a statement for a request answers after the rest: the headers of the stored answer, if they are asked for.
pub fn headers(optional: OptionalColumns) -> String {
    if optional.headers { format!(", {HEADERS}::text AS {HEADERS}") } else { String::new() }
}

/// The same of a row that has just been inserted.
pub fn no_headers(optional: OptionalColumns) -> String {
    if optional.headers { format!(", CAST(NULL AS text) AS {HEADERS}") } else { String::new() }
}

/// Where a row is, and what tells its lease from others.
pub fn location_and_token() -> String {
    format!("ctid::text AS location, {TOKEN} AS token")
}

/// The names of the columns of [`row`].
pub fn row_names() -> String {
    format!("{}, location, token", names())
}

/// The names of all columns.
pub fn names() -> String {
    Column::ALL.map(Column::name).join(", ")
}

/// A parameter as a value of a type.
pub fn cast(parameter: usize, sql_type: &str) -> String {
    format!("CAST(CAST(${parameter} AS text) AS {sql_type})")
}

/// Whether the lease of a row still holds; the interval says how long a lease does.
pub fn live(lease: &str) -> String {
    format!("coalesce(locked_at > statement_timestamp() - {lease}, false)")
}

/// Whether a row's lease is one of those whose tokens are given.
pub fn holds_one_of(tokens: &str) -> String {
    format!("coalesce({TOKEN} = ANY ({tokens}), false)")
}

/// What tells requests apart, each as an expression.
pub struct Described<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path.
    pub path: &'a str,
    /// Route parameters, as jsonb.
    pub params: &'a str,
    /// The digest of the rest, where the table has a column for it.
    pub fingerprint: Option<&'a str>,
}

/// Whether a row is of the request that is described: what either of them does not have is not compared.
/// `stored_params` is the row's `request_params`.
pub fn same(request: &Described<'_>, stored_params: &str) -> String {
    let columns = [
        (Column::RequestMethod.name(), Some(request.method)),
        (Column::RequestPath.name(), Some(request.path)),
        (stored_params, Some(request.params)),
        (FINGERPRINT, request.fingerprint),
    ];
    let conditions = columns
        .into_iter()
        .filter_map(|(column, value)| Some(format!("coalesce({column} = {}, true)", value?)));
    conditions.collect::<Vec<_>>().join(" AND ")
}

/// What keeps an attempt that has lost its lease from writing: see
/// [`Fence`](crate::engine::protocol::statement::Fence).
pub fn fenced(tokens: &str, lease: &str, point: &str) -> String {
    format!(
        "CASE WHEN {held}
         THEN recovery_point <> '{FINISHED}' OR coalesce({point} = '{FINISHED}', true)
         ELSE NOT {live} AND coalesce(recovery_point = {point}, false) END",
        held = holds_one_of(tokens),
        live = live(lease),
    )
}

/// What `locked_at` becomes with a write; nothing, if it stays.
pub fn locked_at(lease: LeaseChange) -> Option<&'static str> {
    match lease {
        LeaseChange::Keep => None,
        // Not `now()`: a stage may be longer than a lease.
        LeaseChange::Renew => Some("statement_timestamp()"),
        LeaseChange::End => Some("NULL"),
    }
}

/// Tokens as an array literal; letters and digits need no quotes.
pub fn tokens(tokens: &[Token]) -> String {
    let tokens: Vec<&str> = tokens.iter().map(|Token(token)| token.as_str()).collect();
    format!("{{{}}}", tokens.join(","))
}

/// A duration as an interval.
pub fn interval(duration: Duration) -> String {
    format!("{} milliseconds", duration.as_millis())
}

/// Text as SQL quotes it.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as SQL quotes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_one_more_parameter_whatever_the_table_is_called() {
        let name = quoted("$9 @guard @literal");
        let written = |is_guarded| {
            let table = Table { name: name.clone(), is_guarded };
            statement(&table, "SELECT $1, $2 FROM @table WHERE @guard AND k = $1").to_string()
        };
        let guard = "txid_current_if_assigned()::text = $3 AND ";
        let expected = |guard| format!("SELECT $1, $2 FROM {name} WHERE {guard}k = $1");
        assert_eq!([written(true), written(false)], [expected(guard), expected("")]);
    }
}
