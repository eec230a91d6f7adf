//! Keys as they cross the door.

use napi::bindgen_prelude::{Either3, Null, Undefined};
use napi_derive::napi;

use super::error::Failure;
use crate::engine::error::Error;
use crate::engine::key::{Columns, Field, IdempotencyKey, Timestamp};
use crate::engine::operations;
use crate::engine::statement::Row;

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

fn field(given: Given) -> Field {
    match given {
        Either3::A(text) => Field::Set(Some(text)),
        Either3::B(Null) => Field::Set(None),
        Either3::C(()) => Field::Absent,
    }
}

/// A row of the table: times in milliseconds since 1970, JSON as text.
#[napi(object)]
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
pub struct KeyAnswer {
    pub key: Option<KeyRow>,
    pub failure: Option<Failure>,
}

impl From<Result<IdempotencyKey, Error>> for KeyAnswer {
    fn from(result: Result<IdempotencyKey, Error>) -> Self {
        match result {
            Ok(key) => Self { key: Some(key.into()), failure: None },
            Err(error) => Self { key: None, failure: Some(error.into()) },
        }
    }
}

/// A row that a query in the caller's transaction has answered.
#[napi(object, object_to_js = false)]
pub struct GivenRow {
    pub key: KeyRow,
    /// Whether the statement got what it competed for.
    pub won: Option<bool>,
}

impl From<GivenRow> for Row {
    fn from(GivenRow { key, won }: GivenRow) -> Self {
        Self { key: key.into(), won: won.unwrap_or(true) }
    }
}

impl From<KeyRow> for IdempotencyKey {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            idempotency_key: row.idempotency_key,
            created_at: Timestamp::from_milliseconds(row.created_at),
            locked_at: row.locked_at.map(Timestamp::from_milliseconds),
            request_method: row.request_method,
            request_params: row.request_params,
            request_path: row.request_path,
            response_code: row.response_code,
            response_body: row.response_body,
            recovery_point: row.recovery_point,
        }
    }
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
