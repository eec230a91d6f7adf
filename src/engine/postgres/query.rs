//! A statement of the caller's own, in one round trip: its values go as text, and come as text, as in `pg`.
//!
//! sqlx would ask the server for the types of the parameters first, and write and read PostgreSQL's binary
//! format, for each of its types. SQL itself has what is needed: `PREPARE` infers the types of the parameters
//! as for every client, and `EXECUTE` reads each value from a literal. The three statements go in one message
//! of the simple protocol, whose answer is text.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgColumn, PgRow, PgTypeInfo};
use sqlx::{Arguments as _, AssertSqlSafe, Column as _, Row as _, ValueRef as _};

use crate::engine::error::{DatabaseError, Error};
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::literal::{bytes_literal, literal, refuse_nul};
use crate::engine::postgres::names::new_name;
use crate::engine::postgres::text::{
    first_word, has_parameters, is_single, with_values, without_end,
};
use crate::engine::postgres::traces::Traces;
use crate::engine::postgres::value::{Parameter, Rows};

/// What `PREPARE` takes; `(` begins a `SELECT`, too.
const PREPARED: [&str; 8] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "WITH", ""];

/// Object identifiers of built-in types, which never change.
const BYTEA: u32 = 17;
const JSON: [u32; 2] = [114, 3802];

/// Runs a statement and answers its rows.
///
/// # Errors
/// [`Error::Database`] as the server says it.
pub async fn run(
    connection: &mut Connection,
    sql: String,
    parameters: Vec<Parameter>,
) -> Result<Rows, Error> {
    refuse_nul(&sql)?;
    connection.traces.add(Traces::of(&sql));
    if !is_single(&sql) {
        return judged(connection, sql).await;
    }
    if parameters.is_empty() {
        return rows_of(&connection.fetch_text(sql).await?);
    }
    if !has_parameters(&sql) {
        // `EXECUTE` would ignore them.
        return Err(wrong_number_of_parameters(parameters.len()));
    }
    if !PREPARED.contains(&first_word(&sql).as_str()) {
        let values = parameters.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
        return rows_of(&connection.fetch_text(with_values(&sql, &values)).await?);
    }
    prepared(connection, &without_end(&sql), &parameters).await
}

/// Has the server judge what looks like several statements: it refuses them, but for one whose body has
/// statements of its own, such as that of a function with `BEGIN ATOMIC`. Those answer no rows.
async fn judged(connection: &mut Connection, sql: String) -> Result<Rows, Error> {
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    let liveness = connection.liveness();
    let answer = query.execute(connection.start()?);
    let done = liveness.answer(answer).await;
    connection.end(done).map(|_| Rows::default())
}

/// Runs a statement whose parameters' types the server infers.
async fn prepared(
    connection: &mut Connection,
    sql: &str,
    parameters: &[Parameter],
) -> Result<Rows, Error> {
    let name = new_name();
    let prepare = format!("PREPARE {name} AS {sql}\n");
    let (prepare, values) = if parameters.iter().any(depends_on_type) {
        let types = types(connection, &name, &prepare).await?;
        (None, typed(connection, parameters, &types).await?)
    } else {
        let values = parameters.iter().map(plain);
        (Some(prepare), values.collect::<Result<Vec<_>, _>>()?)
    };
    // `EXECUTE name()` is no SQL.
    let values = match values.is_empty() {
        true => String::new(),
        false => format!("({})", values.join(", ")),
    };
    let run = format!("EXECUTE {name}{values}; DEALLOCATE {name}");
    let answer = match prepare {
        Some(prepare) => connection.fetch_prepared(&name, format!("{prepare}; {run}")).await,
        None => connection.fetch_text(run).await,
    };
    if answer.is_ok() {
        connection.forget_prepared(&name);
    }
    rows_of(&answer.map_err(|error| wrong_number(error, &name, parameters.len()))?)
}

/// Whether a parameter is written in a way that depends on its type.
fn depends_on_type(parameter: &Parameter) -> bool {
    matches!(parameter, Parameter::Binary(_) | Parameter::List { .. })
}

/// Prepares a statement and answers the types that the server has inferred for its parameters.
async fn types(connection: &mut Connection, name: &str, prepare: &str) -> Result<Vec<u32>, Error> {
    let message = format!(
        "{prepare}; SELECT t::oid::int8 FROM pg_prepared_statements, \
         unnest(parameter_types) WITH ORDINALITY AS parameter (t, n) WHERE name = '{name}' ORDER BY n"
    );
    let rows = connection.fetch_prepared(name, message).await?;
    let oids = rows.iter().map(|row| row.try_get::<i64, _>(0).ok());
    oids.map(|oid| oid.and_then(|oid| u32::try_from(oid).ok()).ok_or_else(unreadable)).collect()
}

/// Writes parameters of known types.
async fn typed(
    connection: &mut Connection,
    parameters: &[Parameter],
    types: &[u32],
) -> Result<Vec<String>, Error> {
    let mut values = Vec::with_capacity(parameters.len());
    for (index, parameter) in parameters.iter().enumerate() {
        values.push(match (parameter, types.get(index)) {
            (Parameter::Binary(bytes), Some(&BYTEA) | None) => bytes_literal(bytes),
            (Parameter::Binary(bytes), Some(oid)) => {
                literal(Some(&text_of(connection, bytes, *oid).await?))?
            }
            (Parameter::List { json: Some(json), .. }, Some(oid)) if JSON.contains(oid) => {
                literal(Some(json))?
            }
            _ => plain(parameter)?,
        });
    }
    Ok(values)
}

/// A parameter of whatever type.
fn plain(parameter: &Parameter) -> Result<String, Error> {
    match parameter {
        Parameter::Null => literal(None),
        Parameter::Text(text) | Parameter::List { literal: text, .. } => literal(Some(text)),
        Parameter::Binary(bytes) => Ok(bytes_literal(bytes)),
    }
}

/// Has the server write the text of a value that is given in the binary form of its type.
async fn text_of(connection: &mut Connection, bytes: &[u8], oid: u32) -> Result<String, Error> {
    let mut arguments = PgArguments::default();
    let value = Raw { oid, bytes: bytes.to_vec() };
    arguments.add(value).map_err(|error| Error::InvalidData(error.to_string()))?;
    let query = sqlx::query_with("SELECT format('%s', $1)", arguments).persistent(false);
    let liveness = connection.liveness();
    let answer = query.fetch_one(connection.start()?);
    let row = liveness.answer(answer).await;
    let row = connection.end(row)?;
    row.try_get(0).map_err(|_| unreadable())
}

/// A value in PostgreSQL's binary format, of a type that only the server knows.
struct Raw {
    oid: u32,
    bytes: Vec<u8>,
}

impl sqlx::Type<sqlx::Postgres> for Raw {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(BYTEA))
    }
}

impl sqlx::Encode<'_, sqlx::Postgres> for Raw {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.oid)))
    }
}

fn rows_of(rows: &[PgRow]) -> Result<Rows, Error> {
    let columns = rows.first().map(|row| row.columns().iter().map(column_of).collect());
    let texts = |row: &PgRow| (0..row.len()).map(|index| text_at(row, index)).collect();
    Ok(Rows {
        columns: columns.unwrap_or_default(),
        rows: rows.iter().map(texts).collect::<Result<_, _>>()?,
    })
}

fn column_of(column: &PgColumn) -> (String, u32) {
    (column.name().to_owned(), column.type_info().oid().map_or(0, |oid| oid.0))
}

fn text_at(row: &PgRow, index: usize) -> Result<Option<String>, Error> {
    let raw = row.try_get_raw(index).map_err(|_| unreadable())?;
    if raw.is_null() {
        return Ok(None);
    }
    raw.as_str().map(|text| Some(text.to_owned())).map_err(|_| unreadable())
}

fn unreadable() -> Error {
    Error::InvalidData("the database answered a value that cannot be read as text".to_owned())
}

/// What the server says when a client binds another number of parameters than the statement has; here it
/// says it of the name that the caller does not know.
fn wrong_number(error: Error, name: &str, given: usize) -> Error {
    match error {
        Error::Database(error) if error.code == "42601" && error.message.contains(name) => refused(
            "08P01",
            format!("{given} parameters were given, but the statement requires others"),
        ),
        error => error,
    }
}

fn wrong_number_of_parameters(given: usize) -> Error {
    refused(
        "08P01",
        format!("{given} parameters were given, but the statement requires another number"),
    )
}

fn refused(code: &str, message: String) -> Error {
    Error::Database(Box::new(DatabaseError {
        code: code.to_owned(),
        severity: "ERROR".to_owned(),
        message,
        ..DatabaseError::default()
    }))
}
