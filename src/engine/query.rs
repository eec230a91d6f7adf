//! A statement of the caller's own, with parameters as the server infers them and rows as text.
//!
//! sqlx speaks PostgreSQL's binary format only. [`value`](super::value) knows the common types; for
//! all others the server itself is asked to read a parameter or to write a result, which costs one
//! round trip more.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Either, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _, TypeInfo as _, ValueRef as _,
};

use super::error::{DatabaseError, Error};
use super::pool::Connection;
use super::value::{self, Encoded, Parameter, Rows, oid};

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
    let sql: std::sync::Arc<str> = sql.into();
    let prepared = connection.start()?.prepare(to_sql(&sql).into_sql_str()).await;
    let prepared = connection.end(prepared)?;
    let types: Vec<u32> = match prepared.parameters() {
        Some(Either::Left(types)) => types.iter().map(oid_of).collect(),
        _ => Vec::new(),
    };
    let text_types = match prepared.parameters() {
        Some(Either::Left(types)) => types.iter().map(is_enum).collect(),
        _ => Vec::new(),
    };
    let arguments = encode(connection, parameters, &types, text_types).await?;
    let rows = sqlx::query_with(to_sql(&sql), arguments).fetch_all(connection.start()?).await;
    let rows = connection.end(rows)?;
    decode(connection, prepared.columns(), &rows).await
}

fn to_sql(sql: &std::sync::Arc<str>) -> AssertSqlSafe<std::sync::Arc<str>> {
    AssertSqlSafe(std::sync::Arc::clone(sql))
}

async fn encode(
    connection: &mut Connection,
    parameters: Vec<Parameter>,
    types: &[u32],
    is_enum: Vec<bool>,
) -> Result<PgArguments, Error> {
    if parameters.len() != types.len() {
        return Err(wrong_number_of_parameters(parameters.len(), types.len()));
    }
    let mut encoded = Vec::with_capacity(parameters.len());
    let mut unread = Vec::new();
    for ((parameter, &oid), is_enum) in parameters.into_iter().zip(types).zip(is_enum) {
        let as_oid = if is_enum { oid::TEXT } else { oid };
        match value::encode(parameter, as_oid) {
            Encoded::Null => encoded.push(None),
            Encoded::Binary(bytes) => encoded.push(Some(bytes)),
            Encoded::Text(text) => {
                unread.push((encoded.len(), text, oid));
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
    for (bytes, &oid) in encoded.into_iter().zip(types) {
        add(&mut arguments, Raw { oid, bytes })?;
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
    columns: &[sqlx::postgres::PgColumn],
    rows: &[PgRow],
) -> Result<Rows, Error> {
    let types: Vec<u32> = columns.iter().map(|column| oid_of(column.type_info())).collect();
    let enums: Vec<bool> = columns.iter().map(|column| is_enum(column.type_info())).collect();
    let mut unwritten = Vec::new();
    let mut decoded = Vec::with_capacity(rows.len());
    for (row_number, row) in rows.iter().enumerate() {
        let mut values = Vec::with_capacity(columns.len());
        for index in 0..columns.len() {
            let raw = row.try_get_raw(index).map_err(|_| unreadable())?;
            if raw.is_null() {
                values.push(None);
                continue;
            }
            let bytes = raw.as_bytes().map_err(|_| unreadable())?;
            let as_oid = if enums[index] { oid::TEXT } else { types[index] };
            let text = value::decode(bytes, as_oid);
            if text.is_none() {
                unwritten.push((row_number, index, bytes));
            }
            values.push(text);
        }
        decoded.push(values);
    }
    for unwritten in unwritten.chunks(CONVERTED_AT_ONCE) {
        let values = unwritten.iter().map(|(_, index, bytes)| (*bytes, types[*index]));
        let written = written_by_server(connection, values.collect()).await?;
        for ((row, index, _), text) in unwritten.iter().zip(written) {
            decoded[*row][*index] = text;
        }
    }
    let columns = columns.iter().map(|column| column.name().to_owned());
    Ok(Rows { columns: columns.zip(types).collect(), rows: decoded })
}

/// Has the server write binary values of any type as text.
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
        casts.push(format!("CAST(${} /* type {oid} */ AS text)", number + 1));
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

fn is_enum(info: &PgTypeInfo) -> bool {
    // sqlx has no kind for a type that it could not look up, and calls it "?".
    info.name() != "?" && matches!(info.kind(), sqlx::postgres::PgTypeKind::Enum(_))
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
