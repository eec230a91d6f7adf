//! A statement of the caller's own, in one round trip: its values go as text, and come as text, as in `pg`.
//!
//! sqlx would ask the server for the types of the parameters first, and write and read PostgreSQL's binary
//! format, for each of its types. SQL itself has what is needed: `PREPARE` infers the types of the parameters
//! as for every client, and `EXECUTE` reads each value from a literal. Both go in one message of the simple protocol,
//! whose answer is text. What is prepared is kept for the next time, where that is safe.

use std::sync::Arc;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgColumn, PgRow, PgTypeInfo};
use sqlx::{Arguments as _, AssertSqlSafe, Column as _, Row as _, ValueRef as _};

use crate::engine::error::{DatabaseError, Error};
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::kept::Kept;
use crate::engine::postgres::literal::{bytes_literal, literal, refuse_nul};
use crate::engine::postgres::names::new_name;
use crate::engine::postgres::text::{
    first_word, has_parameters, is_single, with_values, without_end,
};
use crate::engine::postgres::traces::Traces;
use crate::engine::postgres::value::{Parameter, Rows};

/// What `PREPARE` takes; `(` begins a `SELECT`, too.
const PREPARED: [&str; 8] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "WITH", ""];

/// The most bytes of a statement that is kept prepared.
const LONGEST_KEPT: usize = 16_384;

/// Object identifiers of built-in types, which never change.
const BYTEA: u32 = 17;
const JSON: [u32; 2] = [114, 3802];

/// Runs a statement and answers its rows. `keeps`: it may be kept prepared; not inside of a savepoint, whose caller can go
/// on after an error.
///
/// # Errors
/// [`Error::Database`] as the server says it.
pub async fn run(
    connection: &mut Connection,
    sql: String,
    parameters: Vec<Parameter>,
    keeps: bool,
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
    let keeps = keeps && sql.len() <= LONGEST_KEPT && connection.keeps();
    prepared(connection, &without_end(&sql), &parameters, keeps).await
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

/// Runs a statement whose parameters' types the server infers. `keeps`: it is kept prepared for the next time.
async fn prepared(
    connection: &mut Connection,
    sql: &str,
    parameters: &[Parameter],
    keeps: bool,
) -> Result<Rows, Error> {
    let known = if keeps { connection.kept(sql) } else { None };
    let is_known = known.is_some();
    let mut statement = known.unwrap_or_else(|| Kept::new(new_name().into(), None));
    let name = Arc::clone(&statement.name);
    let mut prepare = (!is_known).then(|| format!("PREPARE {name} AS {sql}\n"));
    let values = if parameters.iter().any(depends_on_type) {
        let types = match statement.types.take() {
            Some(types) => types,
            None => types(connection, &name, prepare.take()).await?,
        };
        connection.learn(sql, &types);
        statement.types = Some(Arc::clone(&types));
        typed(connection, parameters, &types).await?
    } else {
        parameters.iter().map(plain).collect::<Result<_, _>>()?
    };
    let run = execute(&name, &values, keeps);
    let answer = match prepare {
        Some(prepare) => connection.fetch_prepared(&name, format!("{prepare}; {run}")).await,
        None => connection.fetch_text(run).await,
    };
    match &answer {
        Err(error) if is_known => connection.kept_failed(sql, &name, error),
        _ if keeps && !is_known => connection.keep(sql, statement),
        Ok(_) => connection.forget_prepared(&name),
        Err(_) => {}
    }
    rows_of(&answer.map_err(|error| wrong_number(error, &name, parameters.len()))?)
}

/// SQL that executes a prepared statement, and deallocates it unless it is kept.
fn execute(name: &str, values: &[String], is_kept: bool) -> String {
    // `EXECUTE name()` is no SQL.
    let values = match values.is_empty() {
        true => String::new(),
        false => format!("({})", values.join(", ")),
    };
    let deallocate = if is_kept { String::new() } else { format!("; DEALLOCATE {name}") };
    format!("EXECUTE {name}{values}{deallocate}")
}

/// Whether a parameter is written in a way that depends on its type.
fn depends_on_type(parameter: &Parameter) -> bool {
    matches!(parameter, Parameter::Binary(_) | Parameter::List { .. })
}

/// The types that the server has inferred for the parameters of a statement, which is prepared first if it is not.
async fn types(
    connection: &mut Connection,
    name: &Arc<str>,
    prepare: Option<String>,
) -> Result<Arc<[u32]>, Error> {
    let types = format!(
        "SELECT t::oid::int8 FROM pg_prepared_statements, \
         unnest(parameter_types) WITH ORDINALITY AS parameter (t, n) WHERE name = '{name}' ORDER BY n"
    );
    let rows = match prepare {
        Some(prepare) => connection.fetch_prepared(name, format!("{prepare}; {types}")).await?,
        None => connection.fetch_text(types).await?,
    };
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
