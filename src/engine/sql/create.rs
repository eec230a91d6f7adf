//! Inserts a key.

use std::sync::Arc;

use crate::engine::key::{Column, ColumnSet, Columns, Field, Text};
use crate::engine::sql::fragments::{
    self, LOCK_TIMEOUT_20MS, Table, cast, key, names, new_row, selected, statement,
};
use crate::engine::sql::input::{input, value_name, value_names};

/// Parameters: the values of all columns. Answers no more than the key: in a table that is partitioned, a row that
/// was inserted a moment ago has no `xmin` yet, which a token may be made of.
pub fn single(table: &Table) -> Arc<str> {
    statement(
        table,
        &format!(
            "INSERT INTO @table ({names})
             {row}
             RETURNING {key}",
            names = names(),
            row = new_row(table, &casts(1)),
            key = key(),
        ),
    )
}

/// The rows come in the order of the batch; a key that exists is left out, unless all are new. `RETURNING` knows
/// no number of a row, so a row begins with its id.
pub fn batch(table: &Table, columns: ColumnSet, is_new: bool) -> Arc<str> {
    statement(
        table,
        &format!(
            "INSERT INTO @table ({names})
             SELECT {values} FROM {input}
             WHERE {LOCK_TIMEOUT_20MS}
             {on_conflict}
             RETURNING {id}, {answered}",
            names = names(),
            values = new_values(columns),
            input = input(&value_names(columns)),
            // To look for conflicts costs a third of the insert.
            on_conflict = if is_new { "" } else { "ON CONFLICT DO NOTHING" },
            id = fragments::answered(Column::Id),
            answered = selected(answered(columns)),
        ),
    )
}

/// The columns that a batch of new keys answers: not the JSON that was given, whose caller has it, and which may
/// be long.
pub fn answered(given: ColumnSet) -> ColumnSet {
    let given_json = |column: Column| column.is_json() && given.contains(column);
    ColumnSet::ALL.iter().filter(|column| !given_json(*column)).collect()
}

/// The values of a new row, with the table's defaults written out: one statement for all of them.
pub fn inserted(mut columns: Columns) -> impl Iterator<Item = Text> {
    columns.created_at = Field::Set(columns.created_at.or("now"));
    columns.recovery_point = Field::Set(columns.recovery_point.or("started"));
    Column::ALL.into_iter().map(move |column| std::mem::take(columns.get_mut(column)).or_null())
}

/// The values of all columns as parameters, from a number on.
pub fn casts(first: usize) -> String {
    let casts = Column::ALL.into_iter().zip(first..);
    casts.map(|(column, number)| cast(number, column.sql_type())).collect::<Vec<_>>().join(", ")
}

/// The values of a new row of a batch, with the table's defaults written out.
pub fn new_values(columns: ColumnSet) -> String {
    let values = Column::ALL.map(|column| match column {
        column if columns.contains(column) => {
            format!("CAST({} AS {})", value_name(column), column.sql_type())
        }
        Column::CreatedAt => "now()".to_owned(),
        Column::RecoveryPoint => "'started'".to_owned(),
        _ => "NULL".to_owned(),
    });
    values.join(", ")
}
