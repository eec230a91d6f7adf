//! The operations on a key that are one statement each.

use std::time::Duration;

use ulid::Ulid;
use uuid::Uuid;

use super::error::Error;
use super::key::{Columns, Field, IdempotencyKey, Text};
use super::selector::Selector;
use super::session::Session;
use super::statement::{Row, Statement};

/// Inserts a key. One that is not given is generated, as is the id.
///
/// # Errors
/// [`Error::Database`] with SQLSTATE `23505` when the key exists.
pub async fn create(session: &dyn Session, columns: Columns) -> Result<IdempotencyKey, Error> {
    let rows = session.run(Statement::Create(identified(columns))).await?;
    only(rows).ok_or_else(no_row)
}

/// Finds the key of a request, or inserts a new one: Medusa's semantics, where a key that is not
/// known is replaced by a generated one.
///
/// # Errors
/// As the session's.
pub async fn initialize_request(
    session: &dyn Session,
    header_key: Text,
    columns: Columns,
) -> Result<IdempotencyKey, Error> {
    let columns = identified(columns);
    let statement = match header_key.filter(|key| !key.is_empty()) {
        Some(key) => Statement::FindOrCreate { key, columns },
        None => Statement::Create(columns),
    };
    only(session.run(statement).await?).ok_or_else(no_row)
}

/// Finds a key.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn retrieve(session: &dyn Session, key: String) -> Result<IdempotencyKey, Error> {
    let rows = session.run(Statement::Find(key.clone())).await?;
    only(rows).ok_or(Error::NotFound(key))
}

/// Finds the one key that a selector describes.
///
/// # Errors
/// [`Error::NoneSelected`] and [`Error::SeveralSelected`].
pub async fn select(session: &dyn Session, selector: Selector) -> Result<IdempotencyKey, Error> {
    let constraints = selector.constraints.clone();
    let rows = session.run(Statement::Select(selector)).await?;
    if rows.len() > 1 {
        return Err(Error::SeveralSelected(constraints));
    }
    only(rows).ok_or(Error::NoneSelected(constraints))
}

/// Locks a key for `hold`, on the database's clock. Of any number of callers one wins.
///
/// # Errors
/// [`Error::Locked`] for those that do not, [`Error::NotFound`].
pub async fn lock(
    session: &dyn Session,
    key: String,
    hold: Duration,
) -> Result<IdempotencyKey, Error> {
    let statement = Statement::Lock { key: key.clone(), hold };
    match session.run(statement).await?.into_iter().next() {
        Some(Row { key, won: true }) => Ok(key),
        Some(Row { won: false, .. }) => Err(Error::Locked),
        None => Err(Error::NotFound(key)),
    }
}

/// Changes columns of a key.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn update(
    session: &dyn Session,
    key: String,
    columns: Columns,
) -> Result<IdempotencyKey, Error> {
    let statement = Statement::Update { key: key.clone(), columns };
    only(session.run(statement).await?).ok_or(Error::NotFound(key))
}

/// A key for a request that came without one.
pub fn new_key() -> String {
    Uuid::new_v4().to_string()
}

/// Generates what identifies a new row where it was not given, or given as `NULL`.
fn identified(mut columns: Columns) -> Columns {
    if columns.id.clone().or_null().is_none_or(|id| id.is_empty()) {
        columns.id = Field::Set(Some(format!("ikey_{}", Ulid::generate())));
    }
    if columns.idempotency_key.clone().or_null().is_none() {
        columns.idempotency_key = Field::Set(Some(new_key()));
    }
    columns
}

fn only(rows: Vec<Row>) -> Option<IdempotencyKey> {
    rows.into_iter().next().map(|row| row.key)
}

/// An INSERT that answers nothing: a trigger or rule of the user's swallowed the row.
fn no_row() -> Error {
    Error::UnexpectedState {
        code: "row_swallowed",
        message: "the database accepted the idempotency key but stored no row: \
                  is there a trigger or a rule on the table?"
            .to_owned(),
    }
}
