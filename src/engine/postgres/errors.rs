//! What the driver's errors mean to the engine.

use std::{fmt, io};

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::engine::error::{ConnectionProblem, DatabaseError, Error};

/// Among others: the result type of a prepared statement has changed.
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// There is no such prepared statement.
const INVALID_STATEMENT_NAME: &str = "26000";
/// The server, or the transaction, takes no writes.
pub const READ_ONLY: &str = "25006";
/// The connection was lost and nothing more precise is known.
const CONNECTION_FAILURE: &str = "08006";

/// What the driver reports of a connection to `target`.
pub fn from_driver(error: sqlx::Error, target: &impl fmt::Display) -> Error {
    match error {
        sqlx::Error::Database(error) => from_server(error.as_ref(), target),
        sqlx::Error::Io(error) => {
            let problem = ConnectionProblem::Lost(error.to_string());
            Error::connection(io_code(&error), target, problem)
        }
        sqlx::Error::Configuration(error) => Error::InvalidArgument(format!(
            "the connection settings of {target} are not usable: {error}"
        )),
        sqlx::Error::Encode(error) => Error::InvalidData(error.to_string()),
        other => ended(CONNECTION_FAILURE, target, &other.to_string()),
    }
}

fn from_server(error: &dyn sqlx::error::DatabaseError, target: &impl fmt::Display) -> Error {
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else {
        return ended(CONNECTION_FAILURE, target, &error.to_string());
    };
    if is_fatal(error) {
        return ended(error.code(), target, error.message());
    }
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Error::Database(Box::new(DatabaseError {
        code: error.code().to_owned(),
        severity: format!("{:?}", error.severity()).to_uppercase(),
        message: error.message().to_owned(),
        detail: owned(error.detail()),
        hint: owned(error.hint()),
        schema: owned(error.schema()),
        table: owned(error.table()),
        column: owned(error.column()),
        data_type: owned(error.data_type()),
        constraint: owned(error.constraint()),
        lacks_table: false,
    }))
}

/// A connection that the server or the driver has ended.
pub fn ended(code: &str, target: &impl fmt::Display, reason: &str) -> Error {
    Error::connection(code, target, ConnectionProblem::Ended(reason.to_owned()))
}

/// Whether a connection can be used on after this error.
pub fn leaves_connection_usable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| !is_fatal(error))
        }
        sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

/// Whether a statement that the connection keeps prepared is of no more use, because its table has
/// changed or somebody has deallocated it. Nothing was done, and another connection can do it.
pub fn is_stale_statement(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    error.code().is_some_and(|code| is_stale(&code, error.message()))
}

/// The same of an error that has this code and this message.
pub fn is_stale(code: &str, message: &str) -> bool {
    match code {
        FEATURE_NOT_SUPPORTED => message.starts_with("cached plan must not change"),
        INVALID_STATEMENT_NAME => true,
        _ => false,
    }
}

/// Whether the server, or the transaction, takes no writes.
pub fn is_read_only(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some(READ_ONLY))
}

/// Whether the server ends the connection with this error.
fn is_fatal(error: &PgDatabaseError) -> bool {
    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
}

/// The name by which Node calls a system error.
fn io_code(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "ECONNREFUSED",
        io::ErrorKind::ConnectionReset => "ECONNRESET",
        io::ErrorKind::ConnectionAborted => "ECONNABORTED",
        io::ErrorKind::BrokenPipe => "EPIPE",
        io::ErrorKind::TimedOut => "ETIMEDOUT",
        io::ErrorKind::HostUnreachable => "EHOSTUNREACH",
        io::ErrorKind::NetworkUnreachable => "ENETUNREACH",
        io::ErrorKind::NotFound => "ENOENT",
        io::ErrorKind::PermissionDenied => "EACCES",
        _ if error.to_string().contains("failed to lookup address") => "ENOTFOUND",
        _ => CONNECTION_FAILURE,
    }
}
