//! Keys as they cross the door.

use napi_derive::napi;
use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;

use super::error::Failure;
use crate::engine::key::{AS_GIVEN, Columns, Field, IdempotencyKey, Text, Timestamp};
use crate::engine::protocol::{operations, request};

/// The places of `request_params` and `response_body` among the columns.
pub const JSON_COLUMNS: [usize; 2] = [5, 8];

/// The columns that JavaScript gives: a bit for each that it names, in the order of the table's, and the
/// texts of all, none for SQL `NULL`.
pub fn columns(named: u32, mut texts: [Text; 10]) -> Columns {
    Columns::from_order(std::array::from_fn(|index| match named & (1 << index) {
        0 => Field::Absent,
        _ => Field::Set(texts[index].take()),
    }))
}

/// A key for the calls that a stage makes to others.
#[napi(catch_unwind)]
pub fn stage_key(key: String, stage: String) -> String {
    operations::stage_key(&key, &stage)
}

/// The key in an `Idempotency-Key` header, or why there is none.
#[napi(object, object_from_js = false)]
pub struct ClientKey {
    pub value: Option<String>,
    pub failure: Option<Failure>,
}

/// Reads the key that a client has sent.
#[napi(catch_unwind)]
pub fn client_key(header: Option<String>) -> ClientKey {
    match request::client_key(header.as_deref()) {
        Ok(value) => ClientKey { value, failure: None },
        Err(error) => ClientKey { value: None, failure: Some(error.into()) },
    }
}

/// A row of the table as it crosses the door: a list of its columns in the table's order. Times are
/// milliseconds since 1970.
pub struct KeyRow(pub IdempotencyKey);

impl Serialize for KeyRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = &self.0;
        let columns = (
            &key.id,
            &key.idempotency_key,
            Time(key.created_at),
            key.locked_at.map(Time),
            &key.request_method,
            json(&key.request_params)?,
            &key.request_path,
            key.response_code,
            json(&key.response_body)?,
            &key.recovery_point,
        );
        columns.serialize(serializer)
    }
}

/// JSON text as it is.
fn json<E: ser::Error>(text: &Text) -> Result<Option<&RawValue>, E> {
    text.as_deref().map(raw).transpose()
}

struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let milliseconds = self.0.milliseconds();
        // JSON has no infinity, but numbers that are read as such.
        match milliseconds {
            f64::INFINITY => raw("1e999")?.serialize(serializer),
            f64::NEG_INFINITY => raw("-1e999")?.serialize(serializer),
            _ => milliseconds.serialize(serializer),
        }
    }
}

fn raw<E: ser::Error>(text: &str) -> Result<&RawValue, E> {
    serde_json::from_str(text).map_err(E::custom)
}

/// A key as JavaScript needs it that has given some of its columns: it has what is stored as it was given.
pub fn without_given(mut key: IdempotencyKey, named: u32) -> IdempotencyKey {
    let is_given = |column: u32| named & u32::from(AS_GIVEN) & (1 << column) != 0;
    let texts = [(0, &mut key.id), (1, &mut key.idempotency_key), (9, &mut key.recovery_point)];
    for (_, text) in texts.into_iter().filter(|(column, _)| is_given(*column)) {
        text.clear();
    }
    let texts = [
        (4, &mut key.request_method),
        (5, &mut key.request_params),
        (6, &mut key.request_path),
        (8, &mut key.response_body),
    ];
    for (_, text) in texts.into_iter().filter(|(column, _)| is_given(*column)) {
        *text = None;
    }
    key
}
