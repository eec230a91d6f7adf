//! What can go wrong. An error carries data; `lib/errors/table.js` has its words, type and status.

use std::fmt;

/// Serialization failure: the transaction may be repeated.
pub const SERIALIZATION_FAILURE: &str = "40001";
/// Deadlock: the transaction may be repeated.
pub const DEADLOCK_DETECTED: &str = "40P01";
/// A row lock was not granted within `lock_timeout`.
pub const LOCK_NOT_AVAILABLE: &str = "55P03";
/// Something took longer than it may: the system's name for it.
const TIMED_OUT: &str = "ETIMEDOUT";
/// There is no such table.
const UNDEFINED_TABLE: &str = "42P01";
/// A row breaks a NOT NULL or CHECK constraint: the server's detail is the row.
const REFUSED_ROW: [&str; 2] = ["23502", "23514"];
/// The connection was lost during COMMIT: whether it happened is unknown.
const TRANSACTION_RESOLUTION_UNKNOWN: &str = "08007";

/// Why an operation failed.
#[derive(Clone, Debug)]
pub enum Error {
    /// No key has this value.
    NotFound(String),
    /// No key fits the selector, of which these are the columns.
    NoneSelected(String),
    /// Several keys fit the selector, of which these are the columns.
    SeveralSelected(String),
    /// Somebody locked the key a moment ago.
    Locked,
    /// The request of the key is in progress.
    InUse(String),
    /// Another attempt has taken the request over.
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
    /// An argument or an option is not what it has to be: the text says what.
    InvalidArgument(String),
    /// A value cannot be stored or read: the text says why.
    InvalidData(String),
    /// A caller's own statement would begin or end the transaction that it is in: its first word.
    TransactionControl(String),
    /// The transaction had ended.
    TransactionEnded,
    /// The work rolled back the transaction that it was to be committed with.
    RolledBack,
    /// Two savepoints overlapped without one lying in the other.
    OverlappingSavepoints,
    /// The pool was closed.
    Closed,
    /// Calls still ran long after the pool was closed.
    CloseTimedOut {
        /// The database.
        target: String,
    },
    /// No stage could start.
    StagesExhausted {
        /// How many are running.
        running: usize,
        /// The database.
        target: String,
    },
    /// A batch ended without an answer.
    BatchLost,
    /// A call ended without an answer: how.
    CallLost(String),
    /// The database has accepted a key without storing it.
    RowSwallowed,
    /// A stepped operation waits for nothing that its driver could give it.
    OperationStuck,
    /// The database refused.
    Database(Box<DatabaseError>),
    /// The database cannot be reached, or was lost.
    Connection(Box<ConnectionError>),
    /// The caller's own work failed. What it failed with stays with the caller.
    Work {
        /// The SQLSTATE its failure carried, if it carried one.
        code: Option<String>,
    },
}

/// An error as PostgreSQL reports it.
#[derive(Clone, Debug, Default)]
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
    /// Whether it is the table of idempotency keys that is missing.
    pub lacks_table: bool,
}

/// Trouble with a connection.
#[derive(Clone, Debug)]
pub struct ConnectionError {
    /// A system error such as `ECONNREFUSED`, or an SQLSTATE.
    pub code: String,
    /// Host, port and database.
    pub target: String,
    /// What happened.
    pub problem: ConnectionProblem,
    /// Whether it happened during COMMIT, so that the outcome is unknown.
    pub during_commit: bool,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionProblem {
    /// It was lost or could not be opened: the system's reason.
    Lost(String),
    /// The server or the driver has ended it: its reason.
    Ended(String),
    /// It was not open in time.
    NotOpened,
    /// None became free in time.
    NoneFree,
    /// The server did not answer in time: what was asked of it may have happened.
    NoAnswer,
    /// There is no password for it: the reason.
    NoPassword(String),
    /// No server is in the state that was asked for.
    WrongState,
    /// The pooler gives each statement a session of its own.
    StatementPooling,
}

impl Error {
    /// A call that came after the end of its transaction.
    pub fn transaction_ended() -> Self {
        Self::TransactionEnded
    }

    /// Trouble with a connection to `target`.
    pub fn connection(code: &str, target: &impl fmt::Display, problem: ConnectionProblem) -> Self {
        Self::Connection(Box::new(ConnectionError {
            code: code.to_owned(),
            target: target.to_string(),
            problem,
            during_commit: false,
        }))
    }

    /// Something that took longer than it may on a connection to `target`.
    pub fn timed_out(target: &impl fmt::Display, problem: ConnectionProblem) -> Self {
        Self::connection(TIMED_OUT, target, problem)
    }

    /// Whether something took longer than it may.
    pub fn has_timed_out(&self) -> bool {
        self.code() == Some(TIMED_OUT)
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

    /// Says of a failed COMMIT whose connection was lost that its outcome is unknown.
    pub fn at_commit(self) -> Self {
        match self {
            Self::Connection(error) => Self::Connection(Box::new(ConnectionError {
                code: TRANSACTION_RESOLUTION_UNKNOWN.to_owned(),
                during_commit: true,
                ..*error
            })),
            other => other,
        }
    }

    /// Adds to an error of one of the engine's own statements what the server cannot know: which key
    /// a row lock was for, and which table is missing. Takes away a row that was refused, as it has what a client sent.
    pub fn of_statement(self, key: Option<&str>) -> Self {
        match (self, key) {
            (Self::Database(error), Some(key)) if error.code == LOCK_NOT_AVAILABLE => {
                Self::Busy(key.to_owned())
            }
            (Self::Database(mut error), _) if error.code == UNDEFINED_TABLE => {
                error.lacks_table = true;
                Self::Database(error)
            }
            (Self::Database(mut error), _) if REFUSED_ROW.contains(&error.code.as_str()) => {
                error.detail = None;
                Self::Database(error)
            }
            (error, _) => error,
        }
    }

    /// The SQLSTATE or system error that the database, the connection or the work failed with.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Database(error) => Some(&error.code),
            Self::Connection(error) => Some(&error.code),
            Self::Work { code } => code.as_deref(),
            _ => None,
        }
    }

    /// The refusal of a statement that needs a lock which somebody else has, as the server says it.
    pub fn lock_timeout() -> Self {
        Self::Database(Box::new(DatabaseError {
            code: LOCK_NOT_AVAILABLE.to_owned(),
            severity: "ERROR".to_owned(),
            message: "canceling statement due to lock timeout".to_owned(),
            ..DatabaseError::default()
        }))
    }

    /// Whether the server has refused because somebody else has a lock.
    pub fn is_lock_timeout(&self) -> bool {
        self.code() == Some(LOCK_NOT_AVAILABLE)
    }

    /// Whether the server has refused a statement for one of its rows, so that it may take the others. Whatever it
    /// refuses for want of resources, time or writability, it refuses for all.
    pub fn is_of_a_row(&self) -> bool {
        const OF_ALL: [&str; 6] = ["08", "25", "53", "55", "57", "58"];
        matches!(self, Self::Database(error) if !OF_ALL.iter().any(|class| error.code.starts_with(class)))
    }

    /// Whether a transaction that has failed may have been committed all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        self.code() == Some(TRANSACTION_RESOLUTION_UNKNOWN)
    }

    /// Whether repeating the transaction may succeed.
    pub fn is_serialization_failure(&self) -> bool {
        matches!(self.code(), Some(SERIALIZATION_FAILURE | DEADLOCK_DETECTED))
    }
}

/// For those who develop the engine.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument(reason) | Self::InvalidData(reason) => f.write_str(reason),
            Self::Connection(error) => write!(f, "{:?} at {}", error.problem, error.target),
            other => write!(f, "{other:?}"),
        }
    }
}

impl std::error::Error for Error {}
