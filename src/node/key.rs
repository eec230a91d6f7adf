//! Keys as they cross the door.

use napi::bindgen_prelude::{Array, Either3, Null, Undefined};
use napi_derive::napi;

use super::error::Failure;
use crate::engine::error::Error;
use crate::engine::key::{Columns, Field, IdempotencyKey};
use crate::engine::operations;
use crate::engine::stage::Staged;
use crate::engine::statement::{Place, Row, Token};

/// A column as JavaScript gives it: text, `null` for SQL `NULL`, `undefined` where it is not given.
pub type Given = Either3<String, Null, Undefined>;

/// Reads the columns that JavaScript gives, in the order of the table's.
///
/// # Errors
/// [`Error::InvalidArgument`] unless there are ten.
pub fn columns(given: Vec<Given>) -> Result<Columns, Error> {
    let fields: Vec<Field> = given.into_iter().map(field).collect();
    let fields = <[Field; 10]>::try_from(fields);
    let fields = fields.map_err(|_| Error::InvalidArgument("ten columns were expected".into()))?;
    Ok(Columns::from_order(fields))
}

/// A key for a request that came without one.
#[napi(catch_unwind)]
pub fn new_key() -> String {
    operations::new_key()
}

/// A key for the calls that a stage makes to others.
#[napi(catch_unwind)]
pub fn stage_key(key: String, stage: String) -> String {
    operations::stage_key(&key, &stage)
}

fn field(given: Given) -> Field {
    match given {
        Either3::A(text) => Field::Set(Some(text)),
        Either3::B(Null) => Field::Set(None),
        Either3::C(()) => Field::Absent,
    }
}

/// A row of the table: times in milliseconds since 1970, JSON as text.
#[napi(object, object_from_js = false)]
pub struct KeyRow {
    pub id: String,
    pub idempotency_key: String,
    pub created_at: f64,
    pub locked_at: Option<f64>,
    pub request_method: Option<String>,
    pub request_params: Option<String>,
    pub request_path: Option<String>,
    pub response_code: Option<i32>,
    pub response_body: Option<String>,
    pub recovery_point: String,
}

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
            Ok(Staged { key, ran }) => Self { key: Some(key.into()), ran, failure: None },
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
            Ok(keys) => Self { keys: keys.into_iter().map(KeyRow::from).collect(), failure: None },
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

impl From<IdempotencyKey> for KeyRow {
    fn from(key: IdempotencyKey) -> Self {
        Self {
            id: key.id,
            idempotency_key: key.idempotency_key,
            created_at: key.created_at.milliseconds(),
            locked_at: key.locked_at.map(|time| time.milliseconds()),
            request_method: key.request_method,
            request_params: key.request_params,
            request_path: key.request_path,
            response_code: key.response_code,
            response_body: key.response_body,
            recovery_point: key.recovery_point,
        }
    }
}
