//! The values of a batch as SQL sees them: a table of text, a column for each array of
//! [`arrays`](super::batch::arrays).

use crate::engine::key::{Column, ColumnSet};
use crate::engine::sql::fragments::Described;

/// The batch as a table: a column a name, each from its array, and `n`, the number of the row.
///
/// The condition on `n` is always true. The server expects it to leave one row, however long the arrays are. Else it
/// would find a plan for the rows of a small batch better than one for any, and plan the statement anew each time, for
/// longer than it runs; and on a table that is still small it would read all of it, and keep to that.
pub fn input(names: &[&str]) -> String {
    let arrays: Vec<String> =
        (1..=names.len()).map(|parameter| format!("CAST(${parameter} AS text[])")).collect();
    format!(
        "(SELECT * FROM unnest({}) WITH ORDINALITY AS input({}, n)
           WHERE n BETWEEN 1 AND {}) AS input",
        arrays.join(", "),
        names.join(", "),
        i32::MAX,
    )
}

/// What the values of a column are called in the input of a batch.
pub fn value_name(column: Column) -> &'static str {
    // More than there are columns.
    const NAMES: [&str; 16] = [
        "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13",
        "v14", "v15",
    ];
    NAMES[column as usize]
}

/// What the values of columns are called, in the order of [`arrays`](super::batch::arrays).
pub fn value_names(columns: ColumnSet) -> Vec<&'static str> {
    columns.iter().map(value_name).collect()
}

/// What is called so of requests, in the order of [`arrays`](super::batch::arrays).
pub fn request_names(fingerprint: bool) -> Vec<&'static str> {
    let names = ["k", "m", "p", "j", "l", "id_or_token"].into_iter();
    names.chain(fingerprint.then_some("f")).collect()
}

/// The request of a row of the input.
pub fn requested(fingerprint: bool) -> Described<'static> {
    Described {
        method: "m",
        path: "p",
        params: "CAST(j AS jsonb)",
        fingerprint: fingerprint.then_some("f"),
    }
}
