//! Keys as they cross the door.

use napi::bindgen_prelude::Array;
use napi_derive::napi;

use super::error::Failure;
use crate::engine::error::Error;
use crate::engine::key::{Columns, Field, IdempotencyKey, Timestamp};
use crate::engine::operations;
use crate::engine::stage::Staged;
use crate::engine::statement::{Place, Row, Token};

/// The columns that JavaScript gives: a bit for each that it names, in the order of the table's, and
/// their texts, `null` for SQL `NULL`.
///
/// # Errors
/// [`Error::InvalidArgument`] unless there is a text for each bit.
pub fn columns(named: u32, texts: Vec<Option<String>>) -> Result<Columns, Error> {
    if named.count_ones() as usize != texts.len() {
        return Err(Error::InvalidArgument("there has to be a text for each column".to_owned()));
    }
    let mut texts = texts.into_iter();
    Ok(Columns::from_order(std::array::from_fn(|index| match named & (1 << index) {
        0 => Field::Absent,
        _ => Field::Set(texts.next().flatten()),
    })))
}

/// A key for the calls that a stage makes to others.
#[napi(catch_unwind)]
pub fn stage_key(key: String, stage: String) -> String {
    operations::stage_key(&key, &stage)
}

/// A row of the table, its columns in the table's order: times in milliseconds since 1970, JSON as
/// text. A list, as the names of properties cost more than what they name.
pub type KeyRow = (
    String,
    String,
    f64,
    Option<f64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i32>,
    Option<String>,
    String,
);

/// The answer of a call that resolves to a key.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct KeyAnswer {
    pub key: Option<KeyRow>,
    /// Whether the work of a stage was done.
    pub ran: bool,
    pub failure: Option<Failure>,
}

impl From<Result<Staged, Error>> for KeyAnswer {
    fn from(result: Result<Staged, Error>) -> Self {
        match result {
            Ok(Staged { key, ran }) => Self { key: Some(row_of(key)), ran, failure: None },
            Err(error) => Self { failure: Some(error.into()), ..Self::default() },
        }
    }
}

/// The answer of a call that resolves to keys.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct KeysAnswer {
    pub keys: Vec<KeyRow>,
    pub failure: Option<Failure>,
}

impl From<Result<Vec<IdempotencyKey>, Error>> for KeysAnswer {
    fn from(result: Result<Vec<IdempotencyKey>, Error>) -> Self {
        match result {
            Ok(keys) => Self { keys: keys.into_iter().map(row_of).collect(), failure: None },
            Err(error) => Self { failure: Some(error.into()), ..Self::default() },
        }
    }
}

/// Reads a row that a query in the caller's transaction has answered, as `lib/flows.js` lists it: what
/// the engine decides by. The key's other columns stay in JavaScript, which has them already.
///
/// # Errors
/// When it is no such row.
pub fn given_row(row: &Array) -> napi::Result<Row> {
    let text = |index| row.get::<Option<String>>(index).map(Option::flatten);
    let required = |index| text(index)?.ok_or_else(|| missing(index));
    let flag = |index| row.get::<Option<bool>>(index).map(Option::flatten);
    Ok(Row {
        key: IdempotencyKey {
            idempotency_key: required(0)?,
            recovery_point: required(1)?,
            ..IdempotencyKey::default()
        },
        place: Place(required(2)?),
        token: text(3)?.map(Token),
        won: flag(4)?.unwrap_or(true),
        live: flag(5)?.unwrap_or(false),
        same: flag(6)?.unwrap_or(true),
    })
}

fn missing(column: u32) -> napi::Error {
    let message = format!("column {column} of an idempotency key is missing");
    napi::Error::new(napi::Status::InvalidArg, message)
}

/// A key as it crosses the door.
pub fn row_of(key: IdempotencyKey) -> KeyRow {
    (
        key.id,
        key.idempotency_key,
        key.created_at.milliseconds(),
        key.locked_at.map(Timestamp::milliseconds),
        key.request_method,
        key.request_params,
        key.request_path,
        key.response_code,
        key.response_body,
        key.recovery_point,
    )
}
