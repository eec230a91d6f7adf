//! A statement of the caller's own, with parameters as the server infers them and rows as text.
//!
//! sqlx speaks PostgreSQL's binary format only. [`value`] knows the common types; for
//! all others the server itself is asked to read a parameter or to write a result, which costs one
//! round trip more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgColumn, PgRow, PgTypeInfo, PgTypeKind};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Either, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _, TypeInfo as _, ValueRef as _,
};

use crate::engine::error::{DatabaseError, Error};
use crate::engine::postgres::pool::Connection;
use crate::engine::postgres::value::{self, Encoded, Parameter, Rows, oid};

/// Parameters and results that the server has to convert, so many a statement: its limit for
/// result columns is 1664.
const CONVERTED_AT_ONCE: usize = 1000;

/// Runs a statement and answers its rows.
///
/// # Errors
/// [`Error::Database`] as the server says it.
pub async fn run(
    connection: &mut Connection,
    sql: String,
    parameters: Vec<Parameter>,
) -> Result<Rows, Error> {
    // Without parameters there is a protocol that answers text. It takes several statements too, so
    // whatever might be several goes the other way, where the server refuses them.
    if parameters.is_empty() && !sql.trim_end().trim_end_matches(';').contains(';') {
        return run_as_text(connection, sql).await;
    }
    // sqlx keeps a statement prepared by its text. What may change until its next use, such as the
    // type of a column, would make it fail then: a text of its own makes sure that there is no next.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let sql = format!("/* {} */ {sql}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let sql: Arc<str> = sql.into();
    let prepared = connection.start()?.prepare(AssertSqlSafe(sql.clone()).into_sql_str()).await;
    let prepared = connection.end(prepared)?;
    let types = match prepared.parameters() {
        Some(Either::Left(types)) => types,
        _ => &[],
    };
    let arguments = encode(connection, parameters, types).await?;
    let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
    let rows = query.fetch_all(connection.start()?).await;
    let rows = connection.end(rows)?;
    decode(connection, prepared.columns(), &rows).await
}

async fn run_as_text(connection: &mut Connection, sql: String) -> Result<Rows, Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection.start()?).await;
    let rows = connection.end(rows)?;
    let columns = rows.first().map(|row| row.columns().iter().map(column_of).collect());
    let texts = |row: &PgRow| (0..row.len()).map(|index| text_of(row, index)).collect();
    Ok(Rows {
        columns: columns.unwrap_or_default(),
        rows: rows.iter().map(texts).collect::<Result<_, _>>()?,
    })
}

fn column_of(column: &PgColumn) -> (String, u32) {
    (column.name().to_owned(), oid_of(column.type_info()))
}

fn text_of(row: &PgRow, index: usize) -> Result<Option<String>, Error> {
    let raw = row.try_get_raw(index).map_err(|_| unreadable())?;
    if raw.is_null() {
        return Ok(None);
    }
    raw.as_str().map(|text| Some(text.to_owned())).map_err(|_| unreadable())
}

async fn encode(
    connection: &mut Connection,
    parameters: Vec<Parameter>,
    types: &[PgTypeInfo],
) -> Result<PgArguments, Error> {
    if parameters.len() != types.len() {
        return Err(wrong_number_of_parameters(parameters.len(), types.len()));
    }
    let mut encoded = Vec::with_capacity(parameters.len());
    let mut unread = Vec::new();
    for (parameter, info) in parameters.into_iter().zip(types) {
        match value::encode(parameter, codec_of(info)) {
            Encoded::Null => encoded.push(None),
            Encoded::Binary(bytes) => encoded.push(Some(bytes)),
            Encoded::Text(text) => {
                unread.push((encoded.len(), text, oid_of(info)));
                encoded.push(None);
            }
        }
    }
    for unread in unread.chunks(CONVERTED_AT_ONCE) {
        let texts = unread.iter().map(|(_, text, oid)| (text.as_str(), *oid));
        let read = read_by_server(connection, texts.collect()).await?;
        for ((position, ..), bytes) in unread.iter().zip(read) {
            encoded[*position] = Some(bytes);
        }
    }
    let mut arguments = PgArguments::default();
    for (bytes, info) in encoded.into_iter().zip(types) {
        add(&mut arguments, Raw { oid: oid_of(info), bytes })?;
    }
    Ok(arguments)
}

/// Has the server read text of any type. `array_in` takes the type as a value: the text goes in as
/// the one element of an array and comes back as that element's binary form.
async fn read_by_server(
    connection: &mut Connection,
    texts: Vec<(&str, u32)>,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut arguments = PgArguments::default();
    let mut calls = Vec::new();
    for (number, (text, oid)) in texts.into_iter().enumerate() {
        add(&mut arguments, value::array_of_one(text))?;
        add(&mut arguments, Oid(oid))?;
        let first = 2 * number + 1;
        calls.push(format!("array_in(textout(${first}), ${}, -1)", first + 1));
    }
    let sql = format!("SELECT {}", calls.join(", "));
    let row = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_one(connection.start()?).await;
    let row = connection.end(row)?;
    (0..row.len())
        .map(|index| value::only_element(bytes_of(&row, index)?).ok_or_else(unreadable))
        .collect()
}

async fn decode(
    connection: &mut Connection,
    columns: &[PgColumn],
    rows: &[PgRow],
) -> Result<Rows, Error> {
    let mut unwritten = Vec::new();
    let mut decoded = Vec::with_capacity(rows.len());
    for row in rows {
        let mut values = Vec::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            let raw = row.try_get_raw(index).map_err(|_| unreadable())?;
            if raw.is_null() {
                values.push(None);
                continue;
            }
            let bytes = raw.as_bytes().map_err(|_| unreadable())?;
            let text = value::decode(bytes, codec_of(column.type_info()));
            if text.is_none() {
                unwritten.push((decoded.len(), index, bytes, oid_of(column.type_info())));
            }
            values.push(text);
        }
        decoded.push(values);
    }
    for unwritten in unwritten.chunks(CONVERTED_AT_ONCE) {
        let values = unwritten.iter().map(|&(.., bytes, oid)| (bytes, oid)).collect();
        let written = written_by_server(connection, values).await?;
        for (&(row, index, ..), text) in unwritten.iter().zip(written) {
            decoded[row][index] = text;
        }
    }
    Ok(Rows { columns: columns.iter().map(column_of).collect(), rows: decoded })
}

/// Has the server write binary values of any type as text. `format` writes them as a client would get
/// them, where a cast has rules of its own for some types.
async fn written_by_server(
    connection: &mut Connection,
    values: Vec<(&[u8], u32)>,
) -> Result<Vec<Option<String>>, Error> {
    let mut arguments = PgArguments::default();
    let mut casts = Vec::new();
    for (number, (bytes, oid)) in values.into_iter().enumerate() {
        let bytes = Some(bytes.to_vec());
        add(&mut arguments, Raw { oid, bytes })?;
        // sqlx keeps prepared statements by their text: what names the type keeps them apart.
        casts.push(format!("format('%s', ${} /* type {oid} */)", number + 1));
    }
    let sql = format!("SELECT {}", casts.join(", "));
    let row = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_one(connection.start()?).await;
    let row = connection.end(row)?;
    (0..row.len()).map(|index| row.try_get(index).map_err(|_| unreadable())).collect()
}

/// A value in PostgreSQL's binary format, of a type that only the server knows.
struct Raw {
    oid: u32,
    bytes: Option<Vec<u8>>,
}

impl sqlx::Type<sqlx::Postgres> for Raw {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(oid::TEXT))
    }
}

impl sqlx::Encode<'_, sqlx::Postgres> for Raw {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else {
            return Ok(IsNull::Yes);
        };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.oid)))
    }
}

fn add<'q, T>(arguments: &mut PgArguments, value: T) -> Result<(), Error>
where
    T: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let added = arguments.add(value);
    added.map_err(|error| Error::InvalidData(error.to_string()))
}

fn bytes_of(row: &PgRow, index: usize) -> Result<&[u8], Error> {
    let raw = row.try_get_raw(index).map_err(|_| unreadable())?;
    raw.as_bytes().map_err(|_| unreadable())
}

fn oid_of(info: &PgTypeInfo) -> u32 {
    info.oid().map_or(0, |oid| oid.0)
}

/// The type whose codec reads and writes a type: an enum's labels are text.
fn codec_of(info: &PgTypeInfo) -> u32 {
    // sqlx has no kind for a type that it could not look up, and calls it "?".
    let is_enum = info.name() != "?" && matches!(info.kind(), PgTypeKind::Enum(_));
    if is_enum { oid::TEXT } else { oid_of(info) }
}

fn unreadable() -> Error {
    Error::InvalidData("the database answered a value that cannot be read as text".to_owned())
}

/// What the server says of it when a client binds the wrong number.
fn wrong_number_of_parameters(given: usize, wanted: usize) -> Error {
    Error::Database(Box::new(DatabaseError {
        code: "08P01".to_owned(),
        severity: "ERROR".to_owned(),
        message: format!("{given} parameters were given, but the statement requires {wanted}"),
        ..DatabaseError::default()
    }))
}
