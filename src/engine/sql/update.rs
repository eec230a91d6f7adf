//! Changes columns of a key.

use std::sync::Arc;

use crate::engine::key::{Column, ColumnSet};
use crate::engine::protocol::statement::LeaseChange;
use crate::engine::sql::fragments::{
    HEADERS, LOCK_TIMEOUT_20MS, Table, cast, fenced, locked_at, row, statement,
};
use crate::engine::sql::input::{input, value_name, value_names};

/// What the server's error says when an update requires a row and there is none: it reads this as a number then, as SQL
/// itself can refuse nothing. What follows it in a message, such as a COMMIT, does not happen then. What is read so is
/// answered: the planner drops what nobody gets.
pub const NO_ROW: &str = "the idempotency key of a work stage has no row";

/// What tells the second of two statements that the first has changed a row, until the transaction ends.
const FOUND: &str = "idempotency_key.found";

/// The tokens of a fence in the input of a batch.
const TOKENS: &str = "CAST(tokens AS text[])";

/// What tells the text of one update from that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpdateForm {
    /// The columns that change.
    pub columns: ColumnSet,
    /// What becomes of the lease.
    pub lease: LeaseChange,
    /// Whether the row is looked for where it was seen last.
    pub has_location: bool,
    /// What happens if there is no row.
    pub without_row: WithoutRow,
    /// Whether it has a fence.
    pub is_fenced: bool,
    /// Whether it stores an answer's headers.
    pub has_headers: bool,
}

/// What an update does that finds no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WithoutRow {
    /// It answers none.
    AnswersNone,
    /// It fails: see [`NO_ROW`].
    Fails,
    /// The same as two statements. Those are planned in less time, where they are not prepared.
    FailsUnprepared,
}

/// Parameters: the key, the values of the columns, the headers, the location, and the fence's tokens, lease and recovery
/// point, each where it has them.
pub fn single(table: &Table, form: UpdateForm) -> Arc<str> {
    let mut last = 1;
    let mut next = |sql_type| {
        last += 1;
        cast(last, sql_type)
    };
    let mut assignments = assignments(form.columns, form.lease, |column| next(column.sql_type()));
    if form.has_headers {
        assignments.push(format!("{HEADERS} = {}", next("jsonb")));
    }
    let location = match form.has_location {
        true => format!(" AND ctid = {}", next("tid")),
        false => String::new(),
    };
    let fence = match form.is_fenced {
        true => format!(" AND {}", fenced(&next("text[]"), &next("interval"), &next("text"))),
        false => String::new(),
    };
    let update = format!(
        "UPDATE @table SET {assignments}
         WHERE @guard AND idempotency_key = $1{location}{fence}
         RETURNING {row}",
        assignments = assignments.join(", "),
        row = row(),
    );
    statement(table, &with_end(update, form.without_row))
}

/// An update, and what it does without a row.
fn with_end(update: String, without_row: WithoutRow) -> String {
    match without_row {
        WithoutRow::AnswersNone => update,
        WithoutRow::Fails => format!(
            "WITH changed AS ({update})
             SELECT changed.*,
               CAST(CASE WHEN changed.location IS NULL THEN '{NO_ROW}' END AS int) AS found
             FROM (SELECT) AS one LEFT JOIN changed ON true"
        ),
        WithoutRow::FailsUnprepared => format!(
            "{update}, set_config('{FOUND}', 'true', true) AS found;
             SELECT WHERE CAST(CASE current_setting('{FOUND}', true)
               WHEN 'true' THEN NULL ELSE '{NO_ROW}' END AS int) = 0"
        ),
    }
}

/// The same for a batch. A row that somebody has locked is answered with nothing but its number. One that is not
/// there, or that the fence keeps the caller from, is not answered.
pub fn batch(
    table: &Table,
    columns: ColumnSet,
    lease: LeaseChange,
    is_fenced: bool,
    has_headers: bool,
) -> Arc<str> {
    let mut names = vec!["k"];
    names.extend(value_names(columns));
    names.extend(has_headers.then_some("h"));
    names.extend(is_fenced.then_some(["tokens", "l", "point"]).into_iter().flatten());
    let value = |column: Column| format!("CAST({} AS {})", value_name(column), column.sql_type());
    let mut assignments = assignments(columns, lease, value);
    assignments.extend(has_headers.then(|| format!("{HEADERS} = CAST(h AS jsonb)")));
    let fence = match is_fenced {
        true => format!(" AND {}", fenced(TOKENS, "CAST(l AS interval)", "point")),
        false => String::new(),
    };
    statement(
        table,
        &format!(
            "WITH input AS (
               SELECT * FROM {input} WHERE {LOCK_TIMEOUT_20MS}
             ), free AS (
               SELECT input.*, row_id FROM input
               CROSS JOIN LATERAL (
                 SELECT id AS row_id FROM @table
                 WHERE idempotency_key = k{fence} FOR UPDATE SKIP LOCKED
               ) free
             ), changed AS (
               UPDATE @table SET {assignments} FROM free
               WHERE idempotency_key = k AND id = row_id
               RETURNING n, {row}
             )
             SELECT * FROM changed
             UNION ALL SELECT n, {nothing} FROM input
             WHERE n NOT IN (SELECT n FROM changed)
             AND EXISTS (SELECT FROM @table WHERE idempotency_key = k{fence} OFFSET 0)",
            input = input(&names),
            assignments = assignments.join(", "),
            row = row(),
            // The location and the token, too.
            nothing = ["NULL"; Column::COUNT + 2].join(", "),
        ),
    )
}

fn assignments(
    columns: ColumnSet,
    lease: LeaseChange,
    mut value: impl FnMut(Column) -> String,
) -> Vec<String> {
    let lease = locked_at(lease).filter(|_| !columns.contains(Column::LockedAt));
    let lease = lease.map(|time| format!("locked_at = {time}")).into_iter();
    let named = columns.iter().map(|column| format!("{} = {}", column.name(), value(column)));
    lease.chain(named).collect()
}
