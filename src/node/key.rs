//! Keys as they cross the door.

use napi_derive::napi;
use serde::ser::SerializeTuple as _;
use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;

use super::error::Failure;
use crate::engine::key::{Column, ColumnSet, Columns, Field, IdempotencyKey, Text, with_columns};
use crate::engine::protocol::{operations, request};
use crate::engine::timestamp::Timestamp;

/// The text of each column, none for SQL `NULL`, in the order of the table's.
pub type Texts = [Text; Column::COUNT];

/// The columns that JavaScript gives: a bit for each that it names, in the order of the table's, and the texts
/// of all.
pub fn columns(named: u32, texts: Texts) -> Columns {
    let named = ColumnSet::from_bits(named);
    let mut columns = Columns::default();
    for (column, text) in
        Column::ALL.into_iter().zip(texts).filter(|(column, _)| named.contains(*column))
    {
        *columns.get_mut(column) = Field::Set(text);
    }
    columns
}

/// The columns that JavaScript names by bits, so that its list can be compared with this one.
#[napi(catch_unwind)]
pub fn column_names() -> Vec<&'static str> {
    Column::ALL.map(Column::name).to_vec()
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

/// A row of the table as it crosses the door: a list of its columns in the table's order, and after them the headers
/// of the stored answer, if they were asked for and there are any. Times are milliseconds since 1970.
pub struct KeyRow(pub IdempotencyKey);

/// Writes the columns of a key in their order, each as it crosses.
macro_rules! serialize_key {
    ($($(#[$doc:meta])* $column:ident $field:ident: $type:ty, $sql:literal, $crossing:ident;)*) => {
        impl Serialize for KeyRow {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let headers = json(&self.0.response_headers)?;
                let count = Column::COUNT + usize::from(headers.is_some());
                let mut list = serializer.serialize_tuple(count)?;
                $(list.serialize_element(&crossing!($crossing, &self.0.$field))?;)*
                if let Some(headers) = headers {
                    list.serialize_element(headers)?;
                }
                list.end()
            }
        }
    };
}

macro_rules! crossing {
    (Plain, $value:expr) => {
        $value
    };
    (Json, $value:expr) => {
        json($value)?
    };
    (Time, $value:expr) => {
        Time::of(*$value)
    };
}
with_columns!(serialize_key);

/// JSON text as it is.
fn json<E: ser::Error>(text: &Text) -> Result<Option<&RawValue>, E> {
    text.as_deref().map(raw).transpose()
}

/// Milliseconds since 1970; JSON has no infinity, but numbers that are read as such.
struct Time(Option<f64>);

impl Time {
    fn of(time: impl Copy + Into<Option<Timestamp>>) -> Self {
        Self(time.into().map(Timestamp::milliseconds))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(f64::INFINITY) => raw("1e999")?.serialize(serializer),
            Some(f64::NEG_INFINITY) => raw("-1e999")?.serialize(serializer),
            milliseconds => milliseconds.serialize(serializer),
        }
    }
}

fn raw<E: ser::Error>(text: &str) -> Result<&RawValue, E> {
    serde_json::from_str(text).map_err(E::custom)
}

/// A key without the JSON that JavaScript has given for it: its caller gets the very values that it gave.
pub fn without_own_json(mut key: IdempotencyKey, named: u32) -> IdempotencyKey {
    let named = ColumnSet::from_bits(named);
    let json = [
        (Column::RequestParams, &mut key.request_params),
        (Column::ResponseBody, &mut key.response_body),
    ];
    for (column, text) in json {
        if named.contains(column) {
            *text = None;
        }
    }
    key
}
