//! What can go wrong, with its SQLSTATE and Medusa's type.

use std::fmt;
use std::io;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::engine::postgres::target::Target;

/// Serialization failure: the transaction may be repeated.
pub const SERIALIZATION_FAILURE: &str = "40001";
/// Deadlock: the transaction may be repeated.
pub const DEADLOCK_DETECTED: &str = "40P01";
/// A row lock was not granted within `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// There is no such table.
const UNDEFINED_TABLE: &str = "42P01";
/// Among others: the result type of a prepared statement has changed.
const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// There is no such prepared statement.
const INVALID_STATEMENT_NAME: &str = "26000";
/// The connection was lost and nothing more precise is known.
const CONNECTION_FAILURE: &str = "08006";
/// The connection was lost during COMMIT: whether it happened is unknown.
const TRANSACTION_RESOLUTION_UNKNOWN: &str = "08007";

/// Why a call failed.
#[derive(Debug)]
pub enum Error {
    /// No key has this value.
    NotFound(String),
    /// No key fits the selector, given here as JSON text.
    NoneSelected(String),
    /// Several keys fit the selector, given here as JSON text.
    SeveralSelected(String),
    /// Somebody locked the key a moment ago.
    Locked,
    /// The request of the key is in progress.
    InUse(String),
    /// Another flow of the request has taken it over.
    LeaseLost(String),
    /// The request was interrupted, and is not to be tried again before somebody has looked at it.
    Interrupted(String),
    /// The request has its answer already, so it cannot be ended once more.
    Finished(String),
    /// The request is released already.
    Released(String),
    /// The key belongs to another request.
    Reused(String),
    /// What a client sent is no idempotency key. It is not repeated: it may be anything.
    InvalidKey,
    /// A running stage kept the key's row locked for longer than a statement waits.
    Busy(String),
    /// An argument or an option is not what it has to be.
    InvalidArgument(String),
    /// A value cannot be stored, or a callback returned something else than an outcome.
    InvalidData(String),
    /// A call that does not fit the state: a stage that has ended, a service that was closed.
    UnexpectedState {
        /// What to test for.
        code: &'static str,
        /// What happened and what to do.
        message: String,
    },
    /// The database refused.
    Database(Box<DatabaseError>),
    /// The database cannot be reached, or was lost.
    Connection {
        /// A system error such as `ECONNREFUSED`, or an SQLSTATE.
        code: String,
        /// What happened, on which host, port and database.
        message: String,
    },
    /// The caller's own work failed. What it failed with stays with the caller.
    Work {
        /// The SQLSTATE its failure carried, if it carried one.
        code: Option<String>,
    },
}

/// An error as PostgreSQL reports it.
#[derive(Debug, Default)]
#[allow(missing_docs)] // the fields of the protocol's ErrorResponse
pub struct DatabaseError {
    pub code: String,
    pub severity: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub data_type: Option<String>,
    pub constraint: Option<String>,
}

impl Error {
    /// A call that came after the end of its transaction.
    pub fn transaction_ended() -> Self {
        Self::UnexpectedState {
            code: "transaction_ended",
            message: "the transaction of this manager has ended: \
                      await every use of it before the callback returns"
                .to_owned(),
        }
    }

    /// Text with a character that PostgreSQL has no room for, as the server says it.
    pub fn nul_character() -> Self {
        Self::Database(Box::new(DatabaseError {
            code: "22021".to_owned(),
            severity: "ERROR".to_owned(),
            message: "invalid byte sequence for encoding \"UTF8\": 0x00".to_owned(),
            ..DatabaseError::default()
        }))
    }

    /// A call on a service that was closed.
    pub fn closed() -> Self {
        Self::UnexpectedState {
            code: "service_closed",
            message: "the service was closed: construct a new one".to_owned(),
        }
    }

    /// Something that took longer than it may on a connection to `target`.
    pub fn timed_out(what: &str, target: &Target) -> Self {
        Self::Connection { code: "ETIMEDOUT".to_owned(), message: format!("{what} on {target}") }
    }

    /// What sqlx reports of a connection to `target`.
    pub fn from_sqlx(error: sqlx::Error, target: &Target) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::from_server(error.as_ref(), target),
            sqlx::Error::Io(error) => Self::Connection {
                code: io_code(&error),
                message: format!(
                    "lost or could not reach PostgreSQL at {target}: {}",
                    reason_of(&error)
                ),
            },
            sqlx::Error::Configuration(error) => Self::InvalidArgument(format!(
                "the connection settings of {target} are not usable: {error}"
            )),
            sqlx::Error::Encode(error) => Self::InvalidData(error.to_string()),
            other => Self::Connection {
                code: CONNECTION_FAILURE.to_owned(),
                message: format!("PostgreSQL at {target}: {other}"),
            },
        }
    }

    fn from_server(error: &dyn sqlx::error::DatabaseError, target: &Target) -> Self {
        let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else {
            return Self::Connection {
                code: CONNECTION_FAILURE.to_owned(),
                message: format!("PostgreSQL at {target}: {error}"),
            };
        };
        if is_fatal(error) {
            return Self::Connection {
                code: error.code().to_owned(),
                message: format!("PostgreSQL at {target}: {}", error.message()),
            };
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self::Database(Box::new(DatabaseError {
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
        }))
    }

    /// Says of a failed COMMIT whose connection was lost that its outcome is unknown.
    pub fn at_commit(self) -> Self {
        match self {
            Self::Connection { message, .. } => Self::Connection {
                code: TRANSACTION_RESOLUTION_UNKNOWN.to_owned(),
                message: format!(
                    "{message}; the connection was lost during COMMIT, so whether the stage was \
                     committed is unknown: read the key to find out"
                ),
            },
            other => other,
        }
    }

    /// Adds to an error of one of the engine's own statements what the server cannot know: which key
    /// a row lock was for, and how the table comes to be there.
    pub fn of_statement(self, key: Option<&str>) -> Self {
        match (self, key) {
            (Self::Database(error), Some(key)) if error.code == LOCK_NOT_AVAILABLE => {
                Self::Busy(key.to_owned())
            }
            (Self::Database(mut error), _) if error.code == UNDEFINED_TABLE => {
                let hint = "call migrate(), or run Medusa's migrations on this database";
                error.hint = Some(hint.to_owned());
                Self::Database(error)
            }
            (error, _) => error,
        }
    }

    /// What a caller tests for: an SQLSTATE, a system error, or a code of ours.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Database(error) => Some(&error.code),
            Self::Connection { code, .. } => Some(code),
            Self::Work { code } => code.as_deref(),
            Self::UnexpectedState { code, .. } => Some(code),
            Self::Busy(_) => Some(LOCK_NOT_AVAILABLE),
            Self::InUse(_) => Some("idempotency_key_in_use"),
            Self::LeaseLost(_) => Some("lease_lost"),
            Self::Interrupted(_) => Some("idempotency_key_interrupted"),
            Self::Finished(_) => Some("idempotency_key_finished"),
            Self::Released(_) => Some("idempotency_key_released"),
            Self::Reused(_) => Some("idempotency_key_reused"),
            Self::InvalidKey => Some("invalid_idempotency_key"),
            Self::NotFound(_)
            | Self::NoneSelected(_)
            | Self::SeveralSelected(_)
            | Self::Locked
            | Self::InvalidArgument(_)
            | Self::InvalidData(_) => None,
        }
    }

    /// The type of the MedusaError it is, or none for an error that is not Medusa's.
    pub fn medusa_type(&self) -> Option<&'static str> {
        match self {
            Self::NotFound(_) | Self::NoneSelected(_) => Some("not_found"),
            Self::Locked
            | Self::Busy(_)
            | Self::InUse(_)
            | Self::LeaseLost(_)
            | Self::Interrupted(_)
            | Self::Finished(_)
            | Self::Released(_) => Some("conflict"),
            Self::Reused(_) => Some("duplicate_error"),
            Self::InvalidArgument(_) => Some("invalid_argument"),
            Self::InvalidData(_) | Self::InvalidKey => Some("invalid_data"),
            Self::UnexpectedState { .. } => Some("unexpected_state"),
            Self::SeveralSelected(_)
            | Self::Database(_)
            | Self::Connection { .. }
            | Self::Work { .. } => None,
        }
    }

    /// Whether repeating the transaction may succeed.
    pub fn is_serialization_failure(&self) -> bool {
        matches!(self.code(), Some(SERIALIZATION_FAILURE | DEADLOCK_DETECTED))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(key) => write!(f, "Idempotency key {key} was not found"),
            Self::NoneSelected(constraints) => {
                write!(f, "Idempotency key with constraints {constraints} was not found")
            }
            Self::SeveralSelected(constraints) => write!(
                f,
                "Multiple keys were found for constraints: {constraints}. There should only be one."
            ),
            Self::Locked => f.write_str("Key already locked"),
            Self::Busy(key) => write!(
                f,
                "Idempotency key {key} is in use: a running stage holds its row. Retry later; \
                 inside that stage's own callback, use service.withTransaction(manager)"
            ),
            Self::InUse(key) => write!(
                f,
                "A request with the idempotency key {key} is in progress. Retry later with the same \
                 key to get its answer"
            ),
            Self::LeaseLost(key) => write!(
                f,
                "The request with the idempotency key {key} has gone on without this caller: its lease \
                 ran out and a retry has taken it over, or a commit was not heard of. Ask again with \
                 initializeRequest, as a retry does"
            ),
            Self::Interrupted(key) => write!(
                f,
                "The request with the idempotency key {key} was interrupted: its process died or hung, so \
                 what it did outside of the database may have happened. Find out; then store its answer \
                 with update(), or let it be tried again with release()"
            ),
            Self::Finished(key) => write!(
                f,
                "The request with the idempotency key {key} is finished; its stored answer stays as it is"
            ),
            Self::Released(key) => write!(
                f,
                "The request with the idempotency key {key} is released already: a retry may begin it"
            ),
            Self::Reused(key) => write!(
                f,
                "The idempotency key {key} was used for another request (method, path, parameters \
                 or body differ). Use a new key for a new request"
            ),
            Self::InvalidKey => f.write_str(
                "Idempotency-Key has to be 1 to 255 visible ASCII characters, best a UUID",
            ),
            Self::InvalidArgument(message) | Self::InvalidData(message) => f.write_str(message),
            Self::UnexpectedState { message, .. } | Self::Connection { message, .. } => {
                f.write_str(message)
            }
            Self::Database(error) => f.write_str(&error.message),
            Self::Work { .. } => f.write_str("the work failed"),
        }
    }
}

impl std::error::Error for Error {}

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
    match error.code().as_deref() {
        Some(FEATURE_NOT_SUPPORTED) => error.message().starts_with("cached plan must not change"),
        Some(INVALID_STATEMENT_NAME) => true,
        _ => false,
    }
}

/// Whether the server ends the connection with this error.
fn is_fatal(error: &PgDatabaseError) -> bool {
    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
}

/// What rustls says of a certificate that OpenSSL would take, in words that help.
fn reason_of(error: &io::Error) -> String {
    let text = error.to_string();
    if text.contains("CaUsedAsEndEntity") {
        return format!(
            "{text}: the server's certificate is an authority's. Make one for the server (with \
             basicConstraints=CA:FALSE), or set ssl.rejectUnauthorized to false"
        );
    }
    text
}

/// The name by which Node calls a system error.
fn io_code(error: &io::Error) -> String {
    let code = match error.kind() {
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
    };
    code.to_owned()
}
